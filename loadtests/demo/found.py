"""What a demonstration found, and whether the promise was kept: figures in, sentences with both numbers out. Pure."""

from collections.abc import Iterator
from typing import Any

import msgspec

from loadtests.demo.audience import Answer

RECOVERED = 0.8
"""The share of the lost accuracy that has to come back."""
FORGOTTEN = 0.01
"""The most accuracy on the usual rows that may be lost by learning the unusual ones."""


class Moment(msgspec.Struct, frozen=True):
    """Something that happened, `at` seconds from the beginning."""

    at: float
    text: str


class Look(msgspec.Struct, frozen=True):
    """What the service said of its traffic at a moment."""

    at: float
    verdict: str
    conclusion: str
    harm: str
    version: int


class Judged(msgspec.Struct, frozen=True):
    """Accuracies of one version on rows that nobody had sent before: `usual` of `usual_rows`, `unusual` of `unusual_rows`."""

    version: int
    usual: float
    usual_rows: int
    unusual: float
    unusual_rows: int


class Found(msgspec.Struct, kw_only=True):
    """The demonstration as data. `seconds` it took; `failed` are requests without a good answer, by what was answered."""

    model: str
    usual: str
    unusual: str
    date: str
    seconds: float
    settings: str
    requests: int
    failed: dict[str, int]
    champion: Judged
    challenger: Judged
    bad_version: int
    rolled_back_after_s: float
    gate: Any
    moments: list[Moment]
    looks: list[Look]
    answers: list[Answer]


def recovered(found: Found) -> float:
    """The share of the accuracy that the change cost and that came back. 1 where it cost nothing."""
    lost = found.champion.usual - found.champion.unusual
    return (found.challenger.unusual - found.champion.unusual) / lost if lost > 0 else 1.0


def forgotten(found: Found) -> float:
    """Accuracy on the usual rows that the challenger lost."""
    return found.champion.usual - found.challenger.usual


def violations(found: Found) -> Iterator[str]:
    """What was promised and not kept."""
    if (share := recovered(found)) < RECOVERED:
        yield f"{share:.0%} of the lost accuracy came back, {RECOVERED:.0%} were promised"
    if (lost := forgotten(found)) > FORGOTTEN:
        yield f"{100 * lost:.1f} points were lost on {found.usual}, at most {100 * FORGOTTEN:g} may be"
    if found.failed:
        told = ", ".join(f"{count} x {what}" for what, count in sorted(found.failed.items()))
        yield f"{sum(found.failed.values())} of {found.requests} requests failed ({told}), none may"


def table(found: Found) -> list[tuple[str, ...]]:
    """Both versions on the same rows: a heading, then a line each."""
    lines: list[tuple[str, ...]] = [("", found.usual, found.unusual)]
    for name, judged in (("champion", found.champion), ("challenger", found.challenger)):
        usual = f"{judged.usual:.1%} of {judged.usual_rows}"
        unusual = f"{judged.unusual:.1%} of {judged.unusual_rows}"
        lines.append((f"{name}, version {judged.version}", usual, unusual))
    return lines
