"""Whether a challenger may take the champion's place: both answer the same labelled rows, and every line must hold. Pure: no I/O, no clock.

    newest labels (never trained on) -> not worse, no slice much worse, as well calibrated
    the champion's held-out rows     -> nothing forgotten
    both bundles                     -> as quick, as small, no row of the judging in the training

Accuracy is judged on pairs: only rows that one of the two gets right count, so that few labels say much. Shares are 0..1, a point is
0.01. Method: non-inferiority from discordant pairs with half a pair added to each side (Agresti and Min 2005), exact McNemar.
"""

import math
from collections.abc import Iterator, Mapping, Sequence

import msgspec
import numpy as np

from models.evaluation import calibration_error

Z95, Z80 = 1.6448536269514722, 0.8416212335729143
"""One-sided quantiles of the normal distribution: of a test at 5 %, and of a power of 80 %."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a challenger may cost."""

    margin: float = 0.02
    """The most accuracy on the newest labels that may be lost, shown with 95 % confidence."""
    forgotten: float = 0.01
    """The most accuracy on the champion's held-out rows that may be lost; twice as much where chance explains it (McNemar at 5 %): of a few
    hundred rows four more or less are a point, whatever was trained."""
    better: bool = False
    """Whether it must be shown to be better, not only no worse: exact McNemar at 5 %."""
    slice_labels: int = 100
    slice_margin: float = 0.05
    """A slice with that many labels may not be worse by more, unless chance explains it (McNemar at 5 %, Holm over slices)."""
    calibration: float = 0.02
    latency: float = 1.1
    latency_slack_ms: float = 1.0
    """p99 may be that many times the champion's, or that much more: below a millisecond a ratio is noise."""
    size: float = 2.0


class Rows(msgspec.Struct, frozen=True):
    """Rows that both answered: probabilities float [rows, classes] each, labels int [rows], and named masks bool [rows]."""

    champion: np.ndarray
    challenger: np.ndarray
    labels: np.ndarray
    slices: Mapping[str, np.ndarray] = {}


class Costs(msgspec.Struct, frozen=True):
    """What a version costs: p99 of the same requests in milliseconds, bytes of its file."""

    p99_ms: float
    bytes: int


class Line(msgspec.Struct, frozen=True):
    """One line of the answer. `value` is held against `limit`; `n` rows or labels stand behind it."""

    name: str
    passed: bool
    value: float
    limit: float
    n: int
    text: str


class Verdict(msgspec.Struct, frozen=True):
    """All lines. `power`: how likely as many labels show that an equally good challenger is no worse; `more_labels` until that is 80 %."""

    passed: bool
    lines: tuple[Line, ...]
    power: float
    more_labels: int


class Pairs(msgspec.Struct, frozen=True):
    """`n` rows: `gained` only the challenger got right, `lost` only the champion."""

    n: int
    gained: int
    lost: int

    @property
    def difference(self) -> float:
        """Accuracy of the challenger less that of the champion."""
        return (self.gained - self.lost) / self.n if self.n else 0.0

    @property
    def lowest(self) -> float:
        """The lower end of the difference's one-sided 95 % interval."""
        gained, lost, n = self.gained + 0.5, self.lost + 0.5, self.n + 2
        spread = math.sqrt(gained + lost - (gained - lost) ** 2 / n) / n
        return (gained - lost) / n - Z95 * spread

    @property
    def discordance(self) -> float:
        """The share of rows that exactly one of the two gets right; never quite zero, for that nobody can know."""
        return (self.gained + self.lost + 1) / (self.n + 2)


def judge(
    newest: Rows, held_out: Rows, champion: Costs, challenger: Costs, leaked: int, limits: Limits
) -> Verdict:
    """Every line of the gate. `leaked`: rows of `newest` or `held_out` that the challenger was trained on."""
    pairs = paired(newest)
    lines = (
        not_worse(pairs, limits),
        *([better(pairs)] if limits.better else []),
        remembers(held_out, limits),
        *sliced(newest, limits),
        calibrated(newest, limits),
        quick(champion, challenger, limits),
        small(champion, challenger, limits),
        apart(leaked, len(newest.labels) + len(held_out.labels)),
    )
    needed = labels_needed(pairs.discordance, limits.margin)
    return Verdict(
        all(line.passed for line in lines),
        lines,
        power(pairs.n, pairs.discordance, limits.margin),
        max(0, needed - pairs.n),
    )


def paired(rows: Rows, mask: np.ndarray | None = None) -> Pairs:
    """Which of the two was right where, over all rows or those in `mask`."""
    champion = rows.champion.argmax(1) == rows.labels
    challenger = rows.challenger.argmax(1) == rows.labels
    if mask is not None:
        champion, challenger = champion[mask], challenger[mask]
    gained, lost = (challenger & ~champion).sum(), (champion & ~challenger).sum()
    return Pairs(len(champion), int(gained), int(lost))


def not_worse(pairs: Pairs, limits: Limits) -> Line:
    """Non-inferiority on the newest labels."""
    lowest, limit = pairs.lowest, -limits.margin
    text = (
        f"on the newest labels it gains {pairs.gained} rows and loses {pairs.lost} of {pairs.n}: {points(pairs.difference)}, "
        f"at least {points(lowest)} with 95 % confidence, {points(limit)} is allowed"
    )
    return Line("accuracy", lowest > limit, lowest, limit, pairs.n, text)


def better(pairs: Pairs) -> Line:
    """Superiority on the newest labels."""
    p = mcnemar(pairs.gained, pairs.lost)
    text = f"that it is better by chance alone has p = {p:.3g}, 0.05 is allowed"
    return Line("better", p <= 0.05, p, 0.05, pairs.n, text)


def remembers(rows: Rows, limits: Limits) -> Line:
    """What the champion knew, the challenger still knows."""
    pairs, limit = paired(rows), -limits.forgotten
    chance = pairs.difference >= 2 * limit and mcnemar(pairs.lost, pairs.gained) > 0.05
    told = ", and so much by chance" if pairs.difference < limit and chance else ""
    text = f"on the champion's {pairs.n:,} held-out rows {points(pairs.difference)}, {points(limit)} is allowed{told}"
    passed = pairs.difference >= limit or chance
    return Line("memory", passed, pairs.difference, limit, pairs.n, text)


def sliced(rows: Rows, limits: Limits) -> Iterator[Line]:
    """A line for each slice that has enough labels. Holm: the k-th smallest of m p-values is held against 0.05 / (m - k + 1)."""
    found = [(name, paired(rows, mask)) for name, mask in rows.slices.items()]
    enough = [(name, pairs) for name, pairs in found if pairs.n >= limits.slice_labels]
    ranked = sorted(enough, key=lambda one: mcnemar(one[1].lost, one[1].gained))
    chance = False
    for rank, (name, pairs) in enumerate(ranked):
        chance = chance or mcnemar(pairs.lost, pairs.gained) > 0.05 / (len(ranked) - rank)
        holds = chance or pairs.difference >= -limits.slice_margin
        text = f"{points(pairs.difference)} on {pairs.n} labels of {name}, {points(-limits.slice_margin)} is allowed"
        told = text if pairs.difference >= -limits.slice_margin or not holds else f"{text}; chance"
        yield Line(name, holds, pairs.difference, -limits.slice_margin, pairs.n, told)


def calibrated(rows: Rows, limits: Limits) -> Line:
    """Stated confidence may drift from accuracy a little, no more."""
    before = calibration_error(rows.labels, rows.champion)
    after = calibration_error(rows.labels, rows.challenger)
    limit = before + limits.calibration
    text = f"calibration error {after:.3f}, the champion's is {before:.3f}, {limit:.3f} is allowed"
    return Line("calibration", after <= limit, after, limit, len(rows.labels), text)


def quick(champion: Costs, challenger: Costs, limits: Limits) -> Line:
    """p99 of the same requests."""
    limit = max(limits.latency * champion.p99_ms, champion.p99_ms + limits.latency_slack_ms)
    text = f"p99 {challenger.p99_ms:.2f} ms, the champion's is {champion.p99_ms:.2f} ms, {limit:.2f} ms is allowed"
    return Line("latency", challenger.p99_ms <= limit, challenger.p99_ms, limit, 0, text)


def small(champion: Costs, challenger: Costs, limits: Limits) -> Line:
    """Bytes of the file."""
    limit = limits.size * champion.bytes
    text = (
        f"{challenger.bytes:,} bytes, the champion has {champion.bytes:,}, {limit:,.0f} are allowed"
    )
    return Line("size", challenger.bytes <= limit, challenger.bytes, limit, 0, text)


def apart(leaked: int, n: int) -> Line:
    """Rows that were learnt from prove nothing."""
    text = f"{leaked} of the {n} rows that judge were trained on, none may be"
    return Line("leakage", leaked == 0, leaked, 0, n, text)


def mcnemar(more: int, fewer: int) -> float:
    """How likely at least `more` of `more + fewer` discordant pairs fall on one side when both are equally likely: exact, one-sided."""
    n = more + fewer
    return sum(math.comb(n, k) for k in range(more, n + 1)) / (1 << n)


def power(n: int, discordance: float, margin: float) -> float:
    """How likely `n` labels show that an equally good challenger is no worse."""
    if n == 0:
        return 0.0
    reach = margin * math.sqrt(n / discordance) - Z95
    return 0.5 * (1 + math.erf(reach / math.sqrt(2)))


def labels_needed(discordance: float, margin: float) -> int:
    """Labels for a power of 80 %."""
    return math.ceil((Z95 + Z80) ** 2 * discordance / margin**2)


def points(share: float) -> str:
    """A difference of accuracies in points."""
    return f"{100 * share:+.1f} points"


def class_slices(labels: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    """A slice for each class, by what the label says."""
    return {f"class {name}": labels == index for index, name in enumerate(names)}
