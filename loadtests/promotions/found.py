"""What a run found, and whether it holds: figures in, sentences with both numbers out. Pure."""

from collections.abc import Iterator

import msgspec

from loadtests.promotions.sender import Sent

MOST_P99 = 2.0
"""p99 while versions are promoted may be this many times p99 at rest."""
MOST_MEMORY = 1.05
"""Resident memory at the end may be this many times the memory at the start."""


class Options(msgspec.Struct, frozen=True):
    """What was asked for. `fresh`: the old version is not kept, so that every promotion starts an engine. `pause` in s."""

    model: str = "fashion-cnn"
    promotions: int = 200
    share: float = 0.5
    fresh: bool = False
    pause: float = 0.1


class Memory(msgspec.Struct, frozen=True):
    """MiB of every process of the service: resident (shared pages count in each) and proportional (they count once)."""

    resident: float
    proportional: float


class Swaps(msgspec.Struct, frozen=True):
    """The promotions: how many were done, ms from question to answer, and the answers that were none."""

    done: int
    p50_ms: float
    p99_ms: float
    refused: list[str] = []


class Found(msgspec.Struct):
    """One model under one load. `before`: memory before the first promotion, when one engine runs."""

    date: str
    machine: dict[str, str | int | float]
    options: Options
    capacity: Sent
    rest: Sent
    swapping: Sent
    swaps: Swaps
    before: Memory
    start: Memory
    end: Memory
    notes: list[str] = []


def violations(found: Found) -> Iterator[str]:
    """What does not hold, each with what was and what was asked for."""
    for name, sent in (("at rest", found.rest), ("during promotions", found.swapping)):
        if sent.failed:
            told = ", ".join(f"{count} x {what}" for what, count in sorted(sent.failed.items()))
            yield f"{sent.failures} requests failed {name} ({told}), none may"
        if not sent.answered:
            yield f"no request was answered {name}"
    done, wanted = found.swaps.done, found.options.promotions
    if done < wanted:
        first = found.swaps.refused[0] if found.swaps.refused else "they took too long"
        yield f"{done} of {wanted} promotions were done: {first}"
    if ratio(found) > MOST_P99:
        yield (
            f"p99 is {found.swapping.p99_ms:g} ms during promotions and {found.rest.p99_ms:g} ms at rest: "
            f"{ratio(found):.2f} times as much, at most {MOST_P99:g} times may be"
        )
    if growth(found) > MOST_MEMORY:
        yield (
            f"resident memory is {found.end.resident:.1f} MiB at the end and {found.start.resident:.1f} MiB at the start: "
            f"{growth(found) - 1:+.1%}, at most {MOST_MEMORY - 1:+.0%} may be"
        )


def ratio(found: Found) -> float:
    """p99 during promotions over p99 at rest."""
    return found.swapping.p99_ms / found.rest.p99_ms if found.rest.p99_ms else 0.0


def growth(found: Found) -> float:
    """Resident memory at the end over that at the start."""
    return found.end.resident / found.start.resident


def table(found: Found) -> list[tuple[str, ...]]:
    """What a person reads first: a heading, then a line for each load."""
    lines: list[tuple[str, ...]] = [
        ("", "requests/s", "failed", "p50 ms", "p90 ms", "p99 ms", "longest ms")
    ]
    for name, sent in (
        ("capacity", found.capacity),
        ("at rest", found.rest),
        ("during promotions", found.swapping),
    ):
        times = (sent.p50_ms, sent.p90_ms, sent.p99_ms, sent.longest_ms)
        rate = f"{sent.per_second:.0f}"
        lines.append((name, rate, str(sent.failures), *(f"{one:.2f}" for one in times)))
    return lines
