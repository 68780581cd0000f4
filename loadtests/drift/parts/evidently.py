"""What Evidently's defaults say of windows like those of the other contenders: without a shift, and under every shift. One window takes it over a second."""

from pathlib import Path

import numpy as np

from loadtests.compare.errors import NotMeasured
from loadtests.drift import shifts
from loadtests.drift.bench import Bench, Steps
from loadtests.drift.found import Rate
from loadtests.drift.material import Material
from loadtests.drift.rivals import evidently
from loadtests.drift.rivals.evidently import EVIDENTLY
from loadtests.drift.shifts import Shift

SIZES = (200, 1000)
"""Of the windows under a shift."""
FEW = 2
"""Shifts of each modality in a quick run."""


def run(bench: Bench) -> Steps:
    """Nothing is judged: a rival is shown, not measured against a target."""
    yield 0, 6, "building Evidently's environment"
    try:
        python = evidently.ensure()
        for done, material in enumerate(bench.materials()):
            yield 2 * done, 6, f"Evidently on {material.modality} without a shift"
            clean, sizes = shifts.clean(material.modality), material.split(0)[1].profile.sizes
            ask(bench, material, python, [(clean, n, bench.scale.evidently) for n in sizes])
            suite = bench.of(material.modality)
            if bench.scale.evidently == 1:
                suite = suite[:FEW]
            for variant in material.load(suite):
                yield 2 * done + 1, 6, f"{material.modality}: {variant}"
            yield 2 * done + 1, 6, f"Evidently on {material.modality} under every shift"
            chosen = [n for n in SIZES if n in sizes]
            ask(bench, material, python, [(one, n, 1) for one in suite for n in chosen])
    except NotMeasured as error:
        bench.found.notes.append(f"Evidently was not asked: {error}")


def ask(
    bench: Bench, material: Material, python: Path, asked: list[tuple[Shift, int, int]]
) -> None:
    """Windows of each (shift, n, how many), in one go."""
    split, _ = material.split(0)
    plan = [(shift, n, w) for shift, n, windows in asked for w in range(windows)]
    windows = [material.window(shift, split, n, 0, w) for shift, n, w in plan]
    reference = material.clean.rows(split.reference)
    told = evidently.judge(python, material.model.panel.names, reference, windows)
    for shift, n, count in asked:
        found = [
            one.drift
            for one, (s, m, _) in zip(told, plan, strict=True)
            if (s.name, m) == (shift.name, n)
        ]
        bench.found.rates.append(
            Rate(
                modality=material.modality,
                suite=shift.suite,
                shift="none" if shift.suite == "clean" else shift.name,
                contender=EVIDENTLY,
                n=n,
                windows=count,
                rate=float(np.mean(found)),
            )
        )
