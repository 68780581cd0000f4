"""The whole account of one version: its traffic, its labels, and what both come to. It must not know how either was found.

It is the answer of GET /v1/models/{name}/drift. Times are seconds since 1970.
"""

from collections.abc import Sequence

import msgspec

from service.ledger.records import Evaluation
from service.monitoring.conclusion import Conclusion, Findings, concluded
from service.monitoring.detector import Verdict
from service.monitoring.faults import Intake
from service.monitoring.harm import Harm
from service.monitoring.quality import Accuracy, ClassAccuracy, Coverage, Delays, Quality
from service.monitoring.report import LEVELS, DriftTold, ReferenceTold, SignalTold, WindowTold


class Estimated(msgspec.Struct, frozen=True):
    """Accuracy worked out of the last window's answers alone: blind to what labels mean today. `held_out` is what the reference's came to."""

    method: str
    value: float
    n: int
    held_out: float
    estimate: bool = True


class AccuracyTold(msgspec.Struct, frozen=True):
    """Estimated, and by the labels that came back: the newest of them, and all. None where none have come.

    `course`: (when, labels, share of right answers), oldest first.
    """

    estimated: list[Estimated]
    newest: Accuracy | None
    overall: Accuracy | None
    classes: list[ClassAccuracy]
    course: list[tuple[float, int, float]]


class CoverageTold(msgspec.Struct, frozen=True):
    """How many of the newest kept rows have a label, by what was answered and by how surely: labels are rarely missing by chance."""

    by_class: list[Coverage]
    by_confidence: list[Coverage]


class HarmTold(msgspec.Struct, frozen=True):
    """Whether the error exceeds what was promised and put up with. `overall` is the test of all labels, `since_drift` that of rows that came since
    the drift began."""

    verdict: str
    reason: str
    overall: Harm | None
    since_drift: Harm | None


class Past(msgspec.Struct, frozen=True):
    """One evaluation: when its window of n rows ended, and what it came to."""

    at: float
    n: int
    p: float
    verdict: str


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """`verdict` is about the traffic alone, `conclusion` about traffic, labels and refused inputs together.

    `samples` are the rows of the newest window, `p` how often a window of the reference is as unlike the reference. `share`: that of the
    requests which are observed now. `calibrated_for` says what the thresholds hold for.
    """

    model: str
    version: int
    verdict: Verdict
    reason: str
    since: float | None
    conclusion: Conclusion
    samples: int
    window: int | None
    waiting: int
    begun_at: float | None
    ended_at: float | None
    p: float | None
    levels: dict[str, float]
    calibrated_for: str
    reference: ReferenceTold | None
    signals: list[SignalTold]
    windows: list[WindowTold]
    accuracy: AccuracyTold
    coverage: CoverageTold
    harm: HarmTold
    label_delays: Delays
    inputs: Intake
    share: float
    history: list[Past]


class Brief(msgspec.Struct, frozen=True):
    """The champion in a few words, for the page of its model. `accuracy`: by the newest labels."""

    verdict: Verdict
    conclusion: Conclusion
    samples: int
    accuracy: Accuracy | None


def account(drift: DriftTold, quality: Quality, past: Sequence[Evaluation]) -> Account:
    """All of it together."""
    known = {name: getattr(drift, name) for name in drift.__struct_fields__ if name != "estimates"}
    estimated = [
        Estimated(one.method, one.value, one.samples, one.held_out) for one in drift.estimates
    ]
    course = [(step.at, step.labels, step.right / step.weight) for step in quality.course]
    return Account(
        **known,
        conclusion=conclusion(drift, quality),
        accuracy=AccuracyTold(estimated, quality.newest, quality.overall, quality.classes, course),
        coverage=CoverageTold(quality.coverage_by_class, quality.coverage_by_confidence),
        harm=harm_told(quality),
        label_delays=quality.delays,
        history=[Past(one.at, one.n, one.p, one.verdict) for one in past],
    )


def brief(drift: DriftTold, quality: Quality) -> Brief:
    """The same in a few words."""
    return Brief(drift.verdict, conclusion(drift, quality), drift.samples, quality.newest)


def conclusion(drift: DriftTold, quality: Quality) -> Conclusion:
    """What traffic, labels and refused inputs come to."""
    return concluded(
        Findings(
            drift.verdict, drift.inputs, quality.harm, quality.harm_since_drift, quality.newest
        )
    )


def harm_told(quality: Quality) -> HarmTold:
    """Harmful as soon as either test says so; otherwise what the newer of them says."""
    newer = quality.harm_since_drift or quality.harm
    if quality.harm is None or newer is None:
        why = "nobody promised an accuracy to hold labels against"
        return HarmTold("unknown", why, None, None)
    tests = (quality.harm, newer)
    verdict = "harmful" if any(one.verdict == "harmful" for one in tests) else newer.verdict
    limit = f"the limit is an error of {newer.limit:.1%}: {newer.promised:.1%} promised, the rest tolerated"
    return HarmTold(
        verdict, f"{newer.labels:,} labels; {limit}", quality.harm, quality.harm_since_drift
    )


def began(past: Sequence[Evaluation], since: float | None) -> float | None:
    """From when on rows belong to the drift that was called at `since`: the windows that called it hold about all since two evaluations before.

    0 where there were no more.
    """
    if since is None:
        return None
    before = [one.at for one in past if one.at < since]
    return before[-2] if len(before) > 1 else 0.0


def not_loaded(model: str, version: int) -> DriftTold:
    """The traffic of a version that runs nowhere here: only labels are told of it."""
    return DriftTold(
        model=model,
        version=version,
        verdict="insufficient",
        reason=f"{model}/{version} is not loaded here, so it has no traffic",
        levels=LEVELS,
        inputs=Intake(0.0, 0, {}, 0.0, 0, 0),
        share=0.0,
    )
