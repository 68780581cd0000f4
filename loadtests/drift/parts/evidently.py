"""What Evidently's defaults say of the same windows: without a shift, and under Rabanser's shifts. One window takes it over a second."""

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


def run(bench: Bench) -> Steps:
    """Nothing is judged: a rival is shown, not measured against a target."""
    yield 0, 3, "building Evidently's environment"
    try:
        python = evidently.ensure()
        for done, modality in enumerate(("images", "texts", "series")):
            yield done, 4, f"Evidently on {modality} without a shift"
            material = bench.material(modality)
            clean = shifts.clean(modality)
            asked = [(clean, n, bench.scale.evidently) for n in material.split(0)[1].profile.sizes]
            ask(bench, material, python, asked)
        material = bench.material("images")
        suite = [one for one in bench.of("images") if one.suite == "rabanser"]
        if bench.scale.evidently < 2:
            suite = suite[:2]
        for variant in material.load(suite):
            yield 3, 4, f"images: {variant}"
        yield 3, 4, "Evidently on Rabanser's suite"
        sizes = [n for n in SIZES if n in material.split(0)[1].profile.sizes]
        ask(bench, material, python, [(one, n, 1) for one in suite for n in sizes])
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
