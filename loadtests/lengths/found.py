"""What a run found, as it is kept in lengths.json, and the lines by which it is judged. Pure."""

from collections.abc import Iterable
from statistics import median

import msgspec

from loadtests.compare.results import Verdict

HELD_OUT, UNIFORM = "hold-out lengths", "uniform 4-128"
TARGETS = {HELD_OUT: 1.35, UNIFORM: 2.0}


class Paced(msgspec.Struct, frozen=True, kw_only=True):
    """One policy in one round. `padding`: elements after padding over before."""

    round: int
    variant: str
    lengths: str
    policy: str
    rows_per_second: float
    padding: float
    batches: int


class Found(msgspec.Struct, kw_only=True):
    """Everything of one run. `caps`: by variant, the most rows of a batch by padded length."""

    date: str
    machine: dict[str, str | int | float]
    options: dict[str, str | int]
    versions: dict[str, str]
    source: str = ""
    notes: list[str] = []
    caps: dict[str, dict[int, int]] = {}
    paced: list[Paced] = []
    verdicts: list[Verdict] = []


def ratios(paced: Iterable[Paced], policy: str, other: str) -> list[float]:
    """Rows a second of one policy over those of another, for each round that has both; of one file and one kind of lengths."""
    known = list(paced)
    theirs = {one.round: one.rows_per_second for one in known if one.policy == other}
    ours = sorted((one.round, one.rows_per_second) for one in known if one.policy == policy)
    return [pace / theirs[number] for number, pace in ours if number in theirs]


def select(paced: Iterable[Paced], variant: str, lengths: str) -> list[Paced]:
    """Those of one file and one kind of lengths."""
    return [one for one in paced if (one.variant, one.lengths) == (variant, lengths)]


def judged(paced: list[Paced]) -> list[Verdict]:
    """Buckets against the order of arrival, for every file and kind of lengths."""
    lines = []
    for variant in dict.fromkeys(one.variant for one in paced):
        for lengths, target in TARGETS.items():
            values = ratios(select(paced, variant, lengths), "buckets", "arrival")
            lines.append(
                Verdict(
                    what=f"{variant}, {lengths}: rows/s of buckets over padding in the order of arrival, batch 16",
                    target=target,
                    value=median(values) if values else None,
                    rounds=values,
                    against="arrival",
                )
            )
    return lines
