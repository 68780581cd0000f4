"""How many labels it takes to say that a model is wrong more often than promised, and how often that is said without cause (A8)."""

import numpy as np

from loadtests.drift.bench import Bench, Steps
from loadtests.drift.found import Verdict
from loadtests.drift.pools import UNSEEN
from service.monitoring.harm import HarmTest

PROMISED, TOLERANCE = 0.05, 0.02
CLEAN_LABELS, GIVEN_UP = 2000, 3000
FALSE_LABELS = 5000
TARGETS = ((0.15, 210), (0.25, 50))
PEOPLE_LABELS = 500


def run(bench: Bench) -> Steps:
    """Delays after 2,000 clean labels, false alarms in 5,000, and people who were never seen."""
    runs = bench.scale.labels
    for error, most in TARGETS:
        found: list[int] = []
        for number in range(runs):
            yield number, runs, f"the error becomes {error:.2f}"
            found.append(
                delay(error, np.random.default_rng([bench.seed, int(100 * error), number]))
            )
        bench.found.verdicts.append(
            Verdict(
                id="A8",
                what=f"labels until harm is said when the error goes from {PROMISED} to {error} after {CLEAN_LABELS:,}, median",
                value=float(np.median(found)),
                most=most,
                note=f"{runs} streams, 95 %: {np.quantile(found, 0.95):.0f}",
            )
        )
    false = 0
    for number in range(runs):
        yield number, runs, "no error more than promised"
        rng = np.random.default_rng([bench.seed, 5, number])
        false += alarmed(rng.random(FALSE_LABELS) < PROMISED) is not None
    bench.found.verdicts.append(
        Verdict(
            id="A8",
            what=f"streams of {FALSE_LABELS:,} clean labels in which harm is said",
            value=false / runs,
            most=0.01,
            note=f"{false} of {runs} streams",
        )
    )
    bench.found.verdicts.append(people(bench))


def delay(error: float, rng: np.random.Generator) -> int:
    """Labels from the change to the alarm. A stream in which it came before is begun anew: that is counted elsewhere."""
    while True:
        share = np.r_[np.full(CLEAN_LABELS, PROMISED), np.full(GIVEN_UP, error)]
        found = alarmed(rng.random(len(share)) < share)
        if found is None:
            return GIVEN_UP
        if found > CLEAN_LABELS:
            return found - CLEAN_LABELS


def alarmed(wrong: np.ndarray, promised: float = PROMISED) -> int | None:
    """After how many labels the test says harm."""
    test = HarmTest(promised, TOLERANCE)
    for number, one in enumerate(wrong, 1):
        if test.update(bool(one)).verdict == "harmful":
            return number
    return None


def people(bench: Bench) -> Verdict:
    """People who were never seen, with the error that the bundle promises: harm, and after how many labels."""
    material = bench.material("series")
    shift = next(one for one in bench.of("series") if (one.variant, one.share) == (UNSEEN, 1.0))
    for _ in material.load([shift]):
        pass
    rows = material.scored[UNSEEN]
    promised = 1 - material.model.manifest.metrics["accuracy"].low
    found = []
    for number in range(max(bench.scale.labels // 4, 4)):
        rng = np.random.default_rng([bench.seed, 9, number])
        order = rng.permutation(rows.size)[:PEOPLE_LABELS]
        wrong = rows.probabilities.argmax(1)[order] != rows.labels[order]
        found.append(alarmed(wrong, promised))
    said = [one for one in found if one is not None]
    note = f"median {np.median(said):.0f} labels" if said else ""
    what = "people never seen: share of orders of their labels in which harm is said, at most 500 labels"
    return Verdict(id="people", what=what, value=len(said) / len(found), least=1, note=note)
