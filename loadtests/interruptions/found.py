"""What a run found: figures in, a page and sentences out. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from statistics import median

import msgspec


class Interruption(msgspec.Struct, frozen=True):
    """One. `state` and `stage` are the job's at that moment; `back`: seconds until the service answered; `followed`: until who answers was who should."""

    number: int
    fault: str
    done: str
    job: str
    state: str
    stage: str
    back: float
    followed: float
    violations: tuple[str, ...] = ()


class Ended(msgspec.Struct, frozen=True):
    """A job at its end, and the interruptions that it met."""

    job: str
    state: str
    reason: str
    version: int | None
    seconds: float
    interruptions: tuple[int, ...]
    violations: tuple[str, ...] = ()


class Found(msgspec.Struct):
    """A run. `labels`: those that were acknowledged, all of them looked for after every interruption."""

    date: str
    machine: dict[str, str | int | float]
    seed: int
    disk: str
    seconds: float = 0.0
    labels: int = 0
    answered: int = 0
    unanswered: int = 0
    interruptions: list[Interruption] = []
    jobs: list[Ended] = []
    others: list[str] = []
    """What was wrong at no interruption in particular."""


def violations(found: Found) -> Iterator[str]:
    """Everything that did not hold, with when."""
    for one in found.interruptions:
        for text in one.violations:
            yield f"interruption {one.number} ({one.fault}, {one.state} {one.stage}): {text}"
    for job in found.jobs:
        for text in job.violations:
            yield f"job {job.job}: {text}"
    yield from found.others


def markdown(found: Found) -> str:
    """The page for people."""
    wrong = list(violations(found))
    backs = [one.back for one in found.interruptions] or [0.0]
    lines = [
        "# The closed loop, interrupted",
        "",
        f"{len(found.interruptions)} interruptions at random steps of {len(found.jobs)} retrainings, by `python -m loadtests.interruptions "
        f"--count {len(found.interruptions)} --seed {found.seed}` on {found.date}, {found.seconds / 60:.0f} minutes. "
        f"After each of them the registry's log, every version's files, the ledger and the answers over HTTP were checked.",
        "",
        f"- **{len(wrong)} violations**" + (":" if wrong else "."),
        *(f"  - {text}" for text in wrong),
        f"- {found.labels:,} labels were acknowledged; all of them were looked for after every interruption.",
        f"- The service answered again after {median(backs):.1f} s (median), {max(backs):.1f} s at most.",
        f"- Disk: {found.disk}.",
        "",
        "## What was hit, and when",
        "",
        *crossed(found.interruptions),
        "",
        "## What became of the jobs",
        "",
        "| state | jobs | interrupted | reasons |",
        "|---|---|---|---|",
        *outcomes(found.jobs),
        "",
    ]
    return "\n".join(lines)


def crossed(hits: Sequence[Interruption]) -> Iterator[str]:
    """Faults by the step that they met."""
    steps = list(dict.fromkeys(step(one) for one in sorted(hits, key=lambda one: order(one.state))))
    counts = Counter((one.fault, step(one)) for one in hits)
    yield "| fault | " + " | ".join(steps) + " |"
    yield "|---|" + "---|" * len(steps)
    for fault in dict.fromkeys(one.fault for one in hits):
        told = " | ".join(str(counts[fault, one] or "") for one in steps)
        yield f"| {fault} | {told} |"


def outcomes(jobs: Sequence[Ended]) -> Iterator[str]:
    """A line for each lasting state."""
    for state in sorted({one.state for one in jobs}):
        of = [one for one in jobs if one.state == state]
        hit = sum(bool(one.interruptions) for one in of)
        reasons = Counter(plain(one.reason) for one in of).most_common(6)
        told = "; ".join(f"{text} ({count})" for text, count in reasons)
        yield f"| {state} | {len(of)} | {hit} | {told} |"


def plain(reason: str) -> str:
    """A reason without the numbers that differ every time, short enough for a table."""
    words = [
        "N" if word.strip(".,;:%()").replace(".", "").isdigit() else word for word in reason.split()
    ]
    return " ".join(words)[:160].replace("|", "/")


def step(one: Interruption) -> str:
    """The state; of a run, how far it was."""
    return f"{one.state} {one.stage}".strip() if one.state == "running" else one.state


STATES = ("", "queued", "submitted", "running", "evaluating", "promoting", "watching")


def order(state: str) -> int:
    """States as they follow; what has ended last."""
    return STATES.index(state) if state in STATES else len(STATES)
