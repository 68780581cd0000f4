"""How often windows without any shift raise an alarm at alpha .05, over many splits into reference and traffic (A1).

Windows of one split share its rows, so a split is one observation: there are as many splits as it takes to know the mean to PRECISION.
"""

from collections.abc import Callable

import numpy as np

from loadtests.drift.bench import Bench, Steps
from loadtests.drift.found import Rate, Verdict, interval
from loadtests.drift.material import Material, Ours
from loadtests.drift.rivals.kolmogorov import ANY_COLUMN, BBSDS, any_column, bbsds
from loadtests.drift.rows import Scored

ALPHA = 0.05
OURS = "Evergreen"
LEAST, MOST = 0.03, 0.07
PRECISION = 0.02
"""Half the 95 % interval of a rate: as much as it may be off ALPHA."""
RIVAL_WINDOWS = 4
"""One window of so many is shown to rivals, too."""

Test = Callable[[Scored], float]
"""A window's p-value."""
Alarms = dict[tuple[str, int], list[float]]
"""By contender and size: the share of windows with an alarm, of every split."""


def run(bench: Bench) -> Steps:
    """All modalities, all admitted sizes, as many splits as it takes."""
    materials = bench.materials()
    for done, material in enumerate(materials):
        alarms: Alarms = {}
        for number in range(bench.scale.most_splits):
            sizes = unsure(alarms) if number >= bench.scale.splits else None
            if sizes == []:
                break
            total = bench.scale.most_splits * len(materials)
            yield (
                done * bench.scale.most_splits + number,
                total,
                f"{material.modality}, split {number + 1}",
            )
            split_alarms(bench, material, number, sizes, alarms)
        record(bench, material, alarms)


def unsure(alarms: Alarms) -> list[int]:
    """The sizes whose rate is not known to PRECISION."""
    found = []
    for (name, n), shares in alarms.items():
        low, high = interval(shares)
        if name == OURS and low is not None and high is not None and high - low > 2 * PRECISION:
            found.append(n)
    return found


def split_alarms(
    bench: Bench, material: Material, number: int, sizes: list[int] | None, alarms: Alarms
) -> None:
    """One split, in the sizes that are asked for, or in all."""
    split, ours = material.split(number, bench.scale.coarse)
    traffic = material.clean.rows(split.traffic)
    bins = ours.bins(traffic)
    rivals = contenders(material, split.reference, ours)[1:] if number < bench.scale.rivals else []
    for n in sizes or ours.profile.sizes:
        rng = np.random.default_rng([bench.seed, 1, number, n])
        windows = np.array(
            [rng.permutation(len(bins))[:n] for _ in range(bench.scale.windows)], dtype=np.intp
        )
        found = ours.p_values(bins, windows) < ALPHA
        alarms.setdefault((OURS, n), []).append(float(found.mean()))
        for name, test in rivals:
            told = [test(traffic.rows(rows)) < ALPHA for rows in windows[::RIVAL_WINDOWS]]
            alarms.setdefault((name, n), []).append(float(np.mean(told)))


def contenders(material: Material, rows: np.ndarray, ours: Ours) -> list[tuple[str, Test]]:
    """Everybody's test against the same reference, of these rows."""
    reference = material.clean.rows(rows)
    return [
        (OURS, ours.p),
        (ANY_COLUMN, any_column(reference).p),
        (BBSDS, bbsds(reference).p),
    ]


def record(bench: Bench, material: Material, alarms: Alarms) -> None:
    """Rates, and a verdict for each size."""
    for (name, n), shares in alarms.items():
        each = len(range(0, bench.scale.windows, 1 if name == OURS else RIVAL_WINDOWS))
        low, high = interval(shares)
        rate = Rate(
            modality=material.modality,
            suite="clean",
            shift="none",
            contender=name,
            n=n,
            windows=each * len(shares),
            rate=float(np.mean(shares)),
            low=low,
            high=high,
            splits=len(shares),
        )
        bench.found.rates.append(rate)
        if name == OURS:
            bench.found.verdicts.append(
                Verdict(
                    id="A1",
                    what=f"false alarms at alpha .05, {material.modality}, n={n}",
                    value=rate.rate,
                    low=low,
                    high=high,
                    least=LEAST,
                    most=MOST,
                    note=f"{rate.splits} splits, {rate.windows:,} windows",
                )
            )
