"""What a run found, as it is kept in drift.json, and the lines by which it is judged. Pure.

A part's findings are kept under its name, so that one part can be measured again, or elsewhere, and the others stay.
"""

from collections.abc import Sequence

import msgspec
import numpy as np

BOOTSTRAPS = 200
NORMAL_95 = 1.96
FINDING = 4
"""How deep a finding lies in drift.json."""


class Verdict(msgspec.Struct, kw_only=True):
    """One line of the judgement: `value` is to lie within `least` and `most`. None: it was not measured, and `note` says why.

    `low` and `high`: the 95 % interval, where there is one.
    """

    id: str
    what: str
    value: float | None
    low: float | None = None
    high: float | None = None
    least: float | None = None
    most: float | None = None
    unit: str = ""
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is reached."""
        if self.value is None:
            return None
        low = self.least is None or self.value >= self.least
        return low and (self.most is None or self.value <= self.most)

    @property
    def target(self) -> str:
        """In words."""
        if self.least is not None and self.most is not None:
            return f"{self.least:g} to {self.most:g}{self.unit}"
        sign, bound = ("≥", self.least) if self.most is None else ("≤", self.most)
        return f"{sign} {bound:g}{self.unit}"


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """How often a contender raises an alarm at alpha .05 in windows of `n` rows under a shift; without one: its false alarms.

    `low` and `high`: the 95 % interval of the mean over splits.
    """

    modality: str
    suite: str
    shift: str
    contender: str
    n: int
    windows: int
    rate: float
    low: float | None = None
    high: float | None = None
    splits: int = 1


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """What a shift does to the model, and what is told of it without labels. Shares; `lost` and `estimates` are accuracy.

    `told`: the loss that the calibrated confidence says; `severity`: the statistic of the signal that moved most; `psi`: the largest PSI of an input signal.
    """

    modality: str
    suite: str
    shift: str
    covariate: bool
    accuracy: float | None
    lost: float | None
    estimates: dict[str, float]
    told: float
    severity: float
    psi: float


class Delays(msgspec.Struct, frozen=True, kw_only=True):
    """Requests from a change to the first alarm, one number a stream; -1 where there was none."""

    modality: str
    shift: str
    alarm: str
    n: int
    requests: list[int]


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """One stream as it goes on: after so many `rows`, the newest window's p, the verdict, its accuracy and the estimate of it.

    `changed`: the row from which on the rows come from elsewhere; `harmful`: the one whose label showed harm, if all were labelled at once.
    """

    modality: str
    shift: str
    n: int
    changed: int
    harmful: int | None
    rows: list[int]
    p: list[float]
    verdicts: list[str]
    accuracy: list[float]
    estimated: list[float]


class Part(msgspec.Struct, kw_only=True):
    """What one part found, when, and how thoroughly."""

    date: str = ""
    scale: str = ""
    seed: int = 1
    seconds: float = 0.0
    notes: list[str] = []
    sources: dict[str, str] = {}
    rates: list[Rate] = []
    effects: list[Effect] = []
    delays: list[Delays] = []
    courses: list[Course] = []
    verdicts: list[Verdict] = []


class Found(msgspec.Struct, kw_only=True):
    """Everything that was found, by part."""

    machine: dict[str, str | int | float]
    versions: dict[str, str]
    parts: dict[str, Part] = {}

    @property
    def rates(self) -> list[Rate]:
        """Of all parts."""
        return [one for part in self.parts.values() for one in part.rates]

    @property
    def effects(self) -> list[Effect]:
        """Of all parts."""
        return [one for part in self.parts.values() for one in part.effects]

    @property
    def delays(self) -> list[Delays]:
        """Of all parts."""
        return [one for part in self.parts.values() for one in part.delays]

    @property
    def courses(self) -> list[Course]:
        """Of all parts."""
        return [one for part in self.parts.values() for one in part.courses]

    @property
    def verdicts(self) -> list[Verdict]:
        """Of all parts, A1 first."""
        found = [one for part in self.parts.values() for one in part.verdicts]
        return sorted(found, key=lambda one: number(one.id))


def number(name: str) -> int:
    """A1 to A12; what has no number comes last."""
    digits = name.removeprefix("A")
    return int(digits) if digits.isdigit() else 100


def mean(values: list[float]) -> float | None:
    """None of nothing."""
    return sum(values) / len(values) if values else None


def interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """The 95 % interval of the mean of independent values; none of fewer than two."""
    if len(values) < 2:
        return None, None
    half = NORMAL_95 * float(np.std(values, ddof=1)) / len(values) ** 0.5
    middle = float(np.mean(values))
    return middle - half, middle + half


def auroc(scores: Sequence[float], harmful: Sequence[bool]) -> float | None:
    """The chance that a harmful one scores above a harmless one; None without both kinds."""
    bad = [score for score, hurt in zip(scores, harmful, strict=True) if hurt]
    good = [score for score, hurt in zip(scores, harmful, strict=True) if not hurt]
    if not bad or not good:
        return None
    wins = sum((b > g) + 0.5 * (b == g) for b in bad for g in good)
    return wins / (len(bad) * len(good))


def auroc_interval(
    scores: Sequence[float], harmful: Sequence[bool], seed: int
) -> tuple[float | None, float | None]:
    """The 95 % interval of `auroc`, by drawing the shifts again."""
    rng = np.random.default_rng([seed, 6])
    drawn = (rng.integers(len(scores), size=len(scores)) for _ in range(BOOTSTRAPS))
    found = [auroc([scores[i] for i in one], [harmful[i] for i in one]) for one in drawn]
    known = [one for one in found if one is not None]
    if not known:
        return None, None
    return float(np.quantile(known, 0.025)), float(np.quantile(known, 0.975))


def write(found: Found) -> bytes:
    """As drift.json, each finding on a line of its own."""
    return laid_out(msgspec.to_builtins(found), FINDING) + b"\n"


def laid_out(value: object, depth: int, indent: bytes = b"\n") -> bytes:
    """JSON whose first `depth` levels are broken into lines."""
    inner = indent + b" "
    if depth and value and isinstance(value, dict):
        lines = [
            msgspec.json.encode(name) + b": " + laid_out(one, depth - 1, inner)
            for name, one in value.items()
        ]
        return b"{" + inner + (b"," + inner).join(lines) + indent + b"}"
    if depth and value and isinstance(value, list):
        lines = [laid_out(one, depth - 1, inner) for one in value]
        return b"[" + inner + (b"," + inner).join(lines) + indent + b"]"
    return msgspec.json.encode(value)


def read(text: bytes) -> Found:
    """What `write` wrote."""
    return msgspec.json.decode(text, type=Found)
