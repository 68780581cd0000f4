"""A version's drift as it is told: the verdict first, then what it rests on. Pure; it must not know who asks.

Times are seconds since 1970.
"""

from typing import Any

import msgspec

from models.profile import Comparison, Profile
from service.monitoring.detector import DRIFT, WATCH, Verdict
from service.monitoring.faults import Intake
from service.monitoring.judge import Judge
from service.monitoring.seen import Seen

LEVELS = {"watch": WATCH, "drift": DRIFT}
CALIBRATED = "independent requests"
"""What p-values hold for: requests that depend on one another differ more by chance."""


class SignalTold(msgspec.Struct, frozen=True):
    """One signal in the last window. `moved`: beyond its threshold.

    `psi`, `js`, `w1` and `ks` are distances, which grow as windows get smaller; `statistic` and `p` take the size into account. `live` and `reference` are
    counts by bin: bin i holds values from edges[i-1] up to below edges[i], the last one those that are missing.
    """

    name: str
    kind: str
    moved: bool
    statistic: float
    threshold: float
    p: float
    n: int
    shift: float | None
    psi: float
    js: float
    w1: float
    ks: float
    edges: tuple[float, ...]
    live: list[int]
    reference: tuple[int, ...]


class WindowTold(msgspec.Struct, frozen=True):
    """A window of the newest rows, whatever size the verdict rests on."""

    samples: int
    p: float


class ReferenceTold(msgspec.Struct, frozen=True):
    """The profile: M rows, whose they were, and the window sizes that so many rows admit."""

    sha256: str
    rows: int
    source: str
    created_at: str
    sizes: tuple[int, ...]


class EstimateTold(msgspec.Struct, frozen=True):
    """An accuracy that answers suggest, over the last window: no label was seen. `held_out` is what the profile's own rows came to."""

    value: float
    method: str
    samples: int
    held_out: float
    estimated: bool = True


class DriftTold(msgspec.Struct, frozen=True, kw_only=True):
    """All of it. `samples`: rows in the last window, or so far where there was none; `window`: as many as the verdict wants.

    `waiting`: rows that were observed and do not fill a block yet. `share`: that of the requests which are observed now, where it is smallest.
    """

    model: str
    version: int
    verdict: Verdict
    reason: str
    since: float | None = None
    samples: int = 0
    window: int | None = None
    waiting: int = 0
    begun_at: float | None = None
    ended_at: float | None = None
    p: float | None = None
    levels: dict[str, float]
    calibrated_for: str = CALIBRATED
    reference: ReferenceTold | None = None
    signals: list[SignalTold] = []
    windows: list[WindowTold] = []
    estimates: list[EstimateTold] = []
    inputs: Intake
    share: float


def told(one: Seen, inputs: Intake, share: float) -> DriftTold:
    """What there is to tell of a version."""
    known: dict[str, Any] = {
        "model": one.model,
        "version": one.version,
        "inputs": inputs,
        "share": share,
        "levels": LEVELS,
    }
    if (judge := one.judge) is None:
        return DriftTold(verdict="insufficient", reason=one.reason, **known)
    known |= {
        "verdict": judge.detector.verdict,
        "since": judge.detector.since,
        "window": judge.sizes[-1],
        "waiting": judge.blocks.waiting,
        "reference": referred(judge.reference),
        "windows": windows(judge),
    }
    comparison, counted = judge.comparison, judge.counted
    if comparison is None or counted is None:
        so_far = judge.window.samples + judge.blocks.waiting
        reason = f"{so_far} rows were observed, a first window takes {judge.sizes[0]}"
        return DriftTold(reason=reason, samples=so_far, **known)
    return DriftTold(
        reason=reasoned(judge, comparison),
        samples=counted.samples,
        begun_at=counted.begun_at,
        ended_at=counted.ended_at,
        p=comparison.p,
        signals=signals(judge.reference, comparison, counted.counts),
        estimates=estimates(judge),
        **known,
    )


def reasoned(judge: Judge, comparison: Comparison) -> str:
    """The verdict in a sentence."""
    moved = [one.name for one in comparison.signals if one.statistic > one.threshold]
    names = ", ".join(moved[:3]) + (f" and {len(moved) - 3} more" if len(moved) > 3 else "")
    how = f"a window of {comparison.samples} rows without drift is as far out with p = {comparison.p:.4g}"
    match judge.detector.verdict:
        case "drift":
            return f"two of the last three windows were below {DRIFT}; {how}; moved: {names or 'none by itself now'}"
        case "watch":
            return f"the last window was below {WATCH}; {how}; moved: {names or 'none by itself'}"
        case _:
            return how


def referred(known: Profile) -> ReferenceTold:
    """The profile in brief."""
    return ReferenceTold(known.sha256, known.rows, known.source, known.created_at, known.sizes)


def windows(judge: Judge) -> list[WindowTold]:
    """The newest rows in every size that there are enough for."""
    found = ((n, judge.at(n)) for n in judge.reference.sizes)
    return [WindowTold(n, one.p) for n, one in found if one is not None]


def signals(known: Profile, comparison: Comparison, counts: Any) -> list[SignalTold]:
    """Every signal, the strongest evidence first."""
    live = dict(zip(known.names, known.by_signal(counts), strict=True))
    declared = {signal.name: signal for signal in known.signals}
    return [
        SignalTold(
            one.name,
            one.kind,
            one.statistic > one.threshold,
            one.statistic,
            one.threshold,
            one.p,
            one.n,
            one.shift,
            one.psi,
            one.js,
            one.w1,
            one.ks,
            declared[one.name].edges,
            live[one.name].tolist(),
            declared[one.name].counts,
        )
        for one in comparison.signals
    ]


def estimates(judge: Judge) -> list[EstimateTold]:
    """The accuracy without labels, by method."""
    known, counted = judge.reference.estimate, judge.counted
    if known is None or counted is None:
        return []
    rows = int(counted.sums.get("rows", 0))
    return [
        EstimateTold(value, method, rows, known.accuracy)
        for method, value in judge.accuracies().items()
    ]
