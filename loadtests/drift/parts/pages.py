"""False pages of simulated days without a shift (A2), judged as the service judges: windows of the newest n rows, evaluated every n/2, and its detector."""

from collections.abc import Iterable

import numpy as np
from scipy.stats import chi2

from loadtests.drift.bench import Bench, Steps
from loadtests.drift.found import Verdict
from loadtests.drift.material import Ours
from service.monitoring.detector import Detector

PER_HOUR = 600
WINDOW = 500
"""The default of the service, or the largest that is admitted below."""


def run(bench: Bench) -> Steps:
    """How often nothing wakes somebody: every reference is watched for days."""
    references, days = bench.scale.references, bench.scale.days
    for material in bench.materials():
        counted, signals, n = [], 0, 0
        for number in range(references):
            yield number, references, f"{days:g} days of {material.modality}"
            _, ours = material.population(number)
            signals, n = len(ours.profile.names), ours.size(WINDOW)
            rng = np.random.default_rng([bench.seed, 2, number])
            halves = int(days * 24 * PER_HOUR) // (n // 2)
            counted.append(paged(going_on(ours, ours.bins(material.clean), n, halves, rng)))
        low, high = poisson_interval(sum(counted), references)
        bench.found.verdicts.append(
            Verdict(
                id="A2",
                what=f"false pages in {days:g} days of {PER_HOUR} requests an hour, {material.modality}, {signals} signals, n={n}",
                value=float(np.mean(counted)),
                low=low,
                high=high,
                most=1,
                note=f"mean of {references} references, each watched so long: {', '.join(map(str, counted))}",
            )
        )


def poisson_interval(count: int, months: int) -> tuple[float, float]:
    """The exact 95 % interval of the expected count of each, when there were `count` in all of them."""
    low = float(chi2.ppf(0.025, 2 * count)) / 2 if count else 0.0
    return low / months, float(chi2.ppf(0.975, 2 * count + 2)) / 2 / months


def going_on(
    ours: Ours, bins: np.ndarray, n: int, halves: int, rng: np.random.Generator
) -> np.ndarray:
    """The p-values of all windows of n rows, one every n/2, in traffic that is drawn from `bins`."""
    counts = np.array(
        [ours.profile.counts(bins[rng.integers(len(bins), size=n // 2)]) for _ in range(halves)]
    )
    return ours.p_of(counts[1:] + counts[:-1], n)


def paged(found: Iterable[float]) -> int:
    """How often the verdict becomes drift."""
    detector, pages, last = Detector(), 0, "insufficient"
    for number, p in enumerate(found):
        verdict = detector.update(float(p), float(number))
        pages += verdict == "drift" != last
        last = verdict
    return pages
