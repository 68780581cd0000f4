"""How often shifts are seen (A4, A5), whether what is seen tells harm (A6), and how well accuracy is estimated without labels (A9)."""

from collections.abc import Sequence

import numpy as np

from loadtests.drift.bench import Bench, Steps
from loadtests.drift.found import Effect, Rate, Verdict, auroc, auroc_interval, interval, mean
from loadtests.drift.material import Material, Ours
from loadtests.drift.parts.false_alarms import ALPHA, OURS, contenders
from loadtests.drift.pools import ADVERSARIAL, CLEAN
from loadtests.drift.rivals.kolmogorov import ANY_COLUMN, BBSDS
from loadtests.drift.shifts import Shift

HARM = 0.05
SEEN = 0.95
CORRUPTIONS = 13
ESTIMATORS = ("cbpe", "atc")
EFFECT_ROWS = 500
SLOWEST_SPLITS = 3
"""Splits in which the slowest rival is asked, too."""
TARGETS = ((200, 0.60), (1000, 0.75))
ABOVE = 0.10
STRONGEST = "noise large"
"""Leaves next to nothing of a picture: errors are told without it, too."""

CONFIDENT = "answers stay sure of themselves on spoilt pictures, which nothing but labels can tell"

Seen = dict[tuple[str, str, int], list[float]]
"""By shift, contender and size: the share of windows with an alarm, of every split."""


def run(bench: Bench) -> Steps:
    """Every shift at every admitted size, in several splits."""
    for material in bench.materials():
        for variant in material.load(bench.shifts):
            yield 0, 1, f"{material.modality}: {variant}"
    total = bench.scale.power_splits * len(bench.shifts)
    done = 0
    for material in bench.materials():
        seen: Seen = {}
        for number in range(bench.scale.power_splits):
            for shift in bench.of(material.modality):
                yield done, total, f"{shift.modality}: {shift.name}"
                one_shift(bench, material, number, shift, seen)
                done += 1
        record(bench, material, seen)
        bench.found.verdicts += power_verdicts(seen, bench.of(material.modality))
        ours = material.split(0)[1]
        bench.found.effects += [
            effect(material, ours, shift) for shift in bench.of(material.modality)
        ]
    bench.found.verdicts += [
        corruption_verdict(bench.found.rates),
        *harm_verdicts(bench.found.effects, bench.seed),
        *estimate_verdicts(bench.found.effects),
    ]


def one_shift(bench: Bench, material: Material, number: int, shift: Shift, seen: Seen) -> None:
    """Windows of one split under one shift, shown to everybody."""
    split, ours = material.split(number)
    tests = contenders(material, split.reference, ours)
    if number >= SLOWEST_SPLITS:
        tests = [one for one in tests if one[0] != ANY_COLUMN]
    for n in ours.profile.sizes:
        windows = [
            material.window(shift, split, n, number, w) for w in range(bench.scale.power_windows)
        ]
        for name, test in tests:
            share = float(np.mean([test(window) < ALPHA for window in windows]))
            seen.setdefault((shift.name, name, n), []).append(share)


def record(bench: Bench, material: Material, seen: Seen) -> None:
    """Rates by shift, contender and size."""
    suite = {shift.name: shift.suite for shift in bench.of(material.modality)}
    for (shift, name, n), shares in seen.items():
        low, high = interval(shares)
        bench.found.rates.append(
            Rate(
                modality=material.modality,
                suite=suite[shift],
                shift=shift,
                contender=name,
                n=n,
                windows=len(shares) * bench.scale.power_windows,
                rate=float(np.mean(shares)),
                low=low,
                high=high,
                splits=len(shares),
            )
        )


def effect(material: Material, ours: Ours, shift: Shift) -> Effect:
    """What a shift does, measured on all traffic of the first split at once, and what a window says of it."""
    split, _ = material.split(0)
    n = ours.size(EFFECT_ROWS)
    everything = material.window(shift, split, len(split.traffic), 0)
    clean = material.clean.rows(split.traffic).accuracy
    now = everything.accuracy
    estimate = ours.profile.estimate
    assert estimate is not None
    compared = ours.compare(material.window(shift, split, n, 0))
    inputs = [one.psi for one in compared.signals if one.kind == "input"]
    estimates = estimate.accuracies(estimate.sums(everything.probabilities))
    return Effect(
        modality=shift.modality,
        suite=shift.suite,
        shift=shift.name,
        covariate=is_covariate(shift),
        accuracy=now,
        lost=None if now is None or clean is None else clean - now,
        estimates=estimates,
        told=estimate.accuracy - estimates["cbpe"],
        severity=compared.signals[0].statistic,
        psi=max(inputs),
    )


def is_covariate(shift: Shift) -> bool:
    """Whether only the inputs changed: not which classes come, and nobody chose the change against the model."""
    return shift.variant not in (CLEAN, ADVERSARIAL) and not shift.removed and not shift.only


def power_verdicts(seen: Seen, shifts: Sequence[Shift]) -> list[Verdict]:
    """Mean power over Rabanser's suite at two sizes, and what it is above BBSDs; none for a modality without that suite."""
    suite = [one.name for one in shifts if one.suite == "rabanser"]
    found = []
    for n, least in TARGETS if suite else ():
        ours, theirs = (means(seen, suite, name, n) for name in (OURS, BBSDS))
        above = [a - b for a, b in zip(ours, theirs, strict=True)]
        note = f"{len(ours)} splits" if ours else f"the reference is too small for n={n}"
        beside = f"{note}, BBSDs {np.mean(theirs):.3f}" if theirs else note
        for what, values, bound, told in (
            (f"power, Rabanser's suite, n={n}", ours, least, note),
            (f"power above BBSDs in the same windows, n={n}", above, ABOVE, beside),
        ):
            low, high = interval(values)
            found.append(
                Verdict(
                    id="A4",
                    what=what,
                    value=mean(values),
                    low=low,
                    high=high,
                    least=bound,
                    note=told,
                )
            )
    return found


def means(seen: Seen, suite: Sequence[str], contender: str, n: int) -> list[float]:
    """Of every split: the mean over a suite's shifts."""
    shares = [seen[shift, contender, n] for shift in suite if (shift, contender, n) in seen]
    return [float(one) for one in np.mean(shares, axis=0)] if shares else []


def corruption_verdict(rates: Sequence[Rate]) -> Verdict:
    """How many of the fifteen corruptions are seen nearly always at n=200."""
    chosen = [r for r in rates if (r.suite, r.contender, r.n) == ("corruptions", OURS, 200)]
    missed = [r.shift for r in chosen if r.rate < SEEN]
    return Verdict(
        id="A5",
        what="corruptions of 15 that are seen in 95 % of windows, n=200",
        value=float(len(chosen) - len(missed)) if chosen else None,
        least=CORRUPTIONS,
        note=f"less often: {', '.join(missed)}" if missed else "",
    )


def harm_verdicts(effects: Sequence[Effect], seed: int) -> list[Verdict]:
    """Does severity order shifts by harm? Judged is the loss that the estimate says; beside it, the statistic and PSI."""
    known = [one for one in effects if one.lost is not None]
    hurt = [one.lost is not None and one.lost > HARM for one in known]
    told = [one.told for one in known]
    low, high = auroc_interval(told, hurt, seed)
    others = {
        "largest statistic": auroc([one.severity for one in known], hurt),
        "largest PSI of inputs": auroc([one.psi for one in known], hurt),
    }
    beside = ", ".join(f"{name} {value:.2f}" for name, value in others.items() if value is not None)
    return [
        Verdict(
            id="A6",
            what="AUROC of the estimated loss of accuracy against a real loss of more than 5 points, all shifts",
            value=auroc(told, hurt),
            low=low,
            high=high,
            least=0.85,
            note=f"{sum(hurt)} of {len(known)} shifts hurt; {beside}",
        )
    ]


def estimate_verdicts(effects: Sequence[Effect]) -> list[Verdict]:
    """Mean absolute error over covariate shifts, for each estimator; by suite, and of other shifts, in the note."""
    found = []
    covariate = [one for one in effects if one.covariate]
    groups = {
        suite: [one for one in covariate if one.suite == suite]
        for suite in dict.fromkeys(one.suite for one in covariate)
    }
    groups |= {
        f"without {STRONGEST}": [one for one in covariate if not one.shift.startswith(STRONGEST)],
        "over other shifts": [one for one in effects if not one.covariate],
    }
    for method in ESTIMATORS:
        values = errors(covariate, method)
        told = [f"median {np.median(values):.1f}"] if values else []
        by_group = {name: errors(those, method) for name, those in groups.items()}
        told += [f"{name} {np.mean(those):.1f}" for name, those in by_group.items() if those]
        low, high = interval(values)
        found.append(
            Verdict(
                id="A9",
                what=f"error of accuracy estimated without labels ({method}), mean over covariate shifts",
                value=mean(values),
                low=low,
                high=high,
                most=3,
                unit=" points",
                note="; ".join([*told, CONFIDENT]),
            )
        )
    return found


def errors(effects: Sequence[Effect], method: str) -> list[float]:
    """How far each estimate is off, in points; of those whose accuracy is known."""
    return [
        100 * abs(one.estimates[method] - one.accuracy)
        for one in effects
        if one.accuracy is not None
    ]
