"""Whether the signal that is named first is the one that was changed (A12): one signal after another is moved in real windows."""

import numpy as np

from loadtests.drift import shifts
from loadtests.drift.bench import Bench, Steps
from loadtests.drift.found import Verdict
from loadtests.drift.material import Ours
from models import profile

N = 200
"""Or the largest that is admitted below."""
LITTLE = 0.2


def run(bench: Bench) -> Steps:
    """Every signal of every modality."""
    right, asked, seen = 0, 0, 0
    wrong: list[str] = []
    for material in bench.materials():
        for number in range(bench.scale.injections):
            yield asked, asked + 1, f"{material.modality}, split {number + 1}"
            split, ours = material.split(number)
            window = material.window(
                shifts.clean(material.modality), split, ours.size(N), number, 900
            )
            bins = ours.bins(window)
            rng = np.random.default_rng([bench.seed, number])
            for index, name in enumerate(ours.profile.names):
                told = profile.compare(
                    ours.profile,
                    ours.profile.counts(injected(ours, bins, index, rng)),
                    window.size,
                )
                asked += 1
                seen += told.p < 0.05
                right += told.signals[0].name == name
                if told.signals[0].name != name:
                    wrong.append(f"{material.modality} {name}")
    bench.found.verdicts.append(
        Verdict(
            id="A12",
            what=f"the signal named first is the one that was moved, n={N}",
            value=right / asked,
            least=0.95,
            note=f"{asked} injections, {seen / asked:.0%} seen"
            + (f"; wrong: {', '.join(sorted(set(wrong)))}" if wrong else ""),
        )
    )


def injected(ours: Ours, bins: np.ndarray, index: int, rng: np.random.Generator) -> np.ndarray:
    """The bins of a window in which one signal reads otherwise.

    Each row has the larger of its own and another row's value. Where that changes little, because the signal hardly varies, a quarter
    of the rows read more than the reference ever did; where values have no order, half of the rows are of the rarest class.
    """
    moved, column = bins.copy(), bins[:, index]
    signal = ours.profile.signals[index]
    if not signal.ordered:
        rarest = int(np.argmin(signal.counts[1 : len(signal.edges)])) + 1
        moved[rng.random(len(column)) < 0.5, index] = rarest
        return moved
    moved[:, index] = np.maximum(column, rng.permutation(column))
    if (moved[:, index] != column).mean() < LITTLE:
        moved[rng.random(len(column)) < 0.25, index] = len(signal.edges)
    return moved
