"""False alarms where requests depend on one another (A3): rows in the order of their main direction, walked through by an AR(1).

As it is, for everybody; and where one request in so many is observed, at random, as the service does under load.
"""

import numpy as np
from scipy.signal import lfilter
from scipy.special import ndtr

from loadtests.drift.bench import Bench, Steps
from loadtests.drift.found import Rate, Verdict, interval
from loadtests.drift.material import Material
from loadtests.drift.parts.false_alarms import ALPHA, OURS, RIVAL_WINDOWS, contenders
from loadtests.drift.rivals.kolmogorov import ANY_COLUMN, BBSDS
from loadtests.drift.rows import Scored

RHO = 0.6
SHARE = 1 / 8
AS_IT_IS = f"AR(1) {RHO:g}"
THINNED = f"AR(1) {RHO:g}, one in {1 / SHARE:g} observed"
SUITE = "dependent"

Alarms = dict[tuple[str, str, int], list[float]]
"""By kind of traffic, contender and size: the share of windows with an alarm, of every split."""


def run(bench: Bench) -> Steps:
    """All modalities, all admitted sizes."""
    splits = max(bench.scale.splits // 2, 2)
    for material in bench.materials():
        alarms: Alarms = {}
        for number in range(splits):
            yield number, splits, f"dependent {material.modality}"
            split_alarms(bench, material, number, alarms)
        record(bench, material, alarms)
    judge(bench)


def split_alarms(bench: Bench, material: Material, number: int, alarms: Alarms) -> None:
    """One reference, and traffic that walks through all rows."""
    reference, ours = material.population(number, bench.scale.coarse)
    rng = np.random.default_rng([bench.seed, 3, number])
    traffic = material.clean.rows(by_main_direction(material.clean))
    bins, rivals = ours.bins(traffic), contenders(material, reference, ours)[1:]
    for n in ours.profile.sizes:
        for name, share in ((AS_IT_IS, 1.0), (THINNED, SHARE)):
            drawn = [walk(n, len(bins), share, rng) for _ in range(bench.scale.windows)]
            told = ours.p_values(bins, np.array(drawn)) < ALPHA
            alarms.setdefault((name, OURS, n), []).append(float(told.mean()))
            for rival, test in rivals if share == 1 else ():
                some = [test(traffic.rows(rows)) < ALPHA for rows in drawn[::RIVAL_WINDOWS]]
                alarms.setdefault((name, rival, n), []).append(float(np.mean(some)))


def record(bench: Bench, material: Material, alarms: Alarms) -> None:
    """Rates by kind of traffic, contender and size."""
    for (name, contender, n), found in alarms.items():
        low, high = interval(found)
        each = len(range(0, bench.scale.windows, 1 if contender == OURS else RIVAL_WINDOWS))
        bench.found.rates.append(
            Rate(
                modality=material.modality,
                suite=SUITE,
                shift=name,
                contender=contender,
                n=n,
                windows=each * len(found),
                rate=float(np.mean(found)),
                low=low,
                high=high,
                splits=len(found),
            )
        )


def judge(bench: Bench) -> None:
    """The worst cell, beside what rivals say there, and what thinning makes of it."""
    rates = bench.found.rates

    def highest(name: str, contender: str) -> Rate:
        chosen = [one for one in rates if (one.shift, one.contender) == (name, contender)]
        return max(chosen, key=lambda one: one.rate)

    worst = highest(AS_IT_IS, OURS)
    rivals = [f"{name} up to {highest(AS_IT_IS, name).rate:.2f}" for name in (ANY_COLUMN, BBSDS)]
    thinned = (
        f"if one request in {1 / SHARE:g} is observed, up to {highest(THINNED, OURS).rate:.2f}"
    )
    calibrated = "the test is calibrated for independent requests and says so"
    bench.found.verdicts.append(
        Verdict(
            id="A3",
            what=f"false alarms at alpha .05 in dependent traffic ({AS_IT_IS}), worst modality and size",
            value=worst.rate,
            low=worst.low,
            high=worst.high,
            most=0.10,
            note="; ".join([f"{worst.modality}, n={worst.n}", calibrated, *rivals, thinned]),
        )
    )


def by_main_direction(rows: Scored) -> np.ndarray:
    """Row numbers in the order of the first principal component of the standardised signals."""
    values = np.nan_to_num(rows.values)
    spread = values.std(axis=0)
    scaled = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1)
    _, _, directions = np.linalg.svd(scaled, full_matrices=False)
    return np.argsort(scaled @ directions[0], kind="stable")


def walk(n: int, rows: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """`n` places of `rows`, each equally likely, neighbours alike: a Gaussian AR(1) read as ranks, of which a share is observed."""
    length = round(2 * n / share) if share < 1 else n
    steps = rng.standard_normal(length)
    steps[1:] *= np.sqrt(1 - RHO**2)
    found = lfilter([1.0], [1.0, -RHO], steps)[rng.random(length) < share][:n]
    assert len(found) == n
    places: np.ndarray = (ndtr(found) * rows).astype(int)
    return places.clip(0, rows - 1)
