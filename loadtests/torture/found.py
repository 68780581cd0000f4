"""What a run found, and whether it holds: figures in, sentences with both numbers out. Pure."""

from collections.abc import Iterable, Iterator
from typing import Literal

import msgspec

Outcome = Literal["right", "refused", "wrong", "lost", "cut", "unreached"]
"""What became of a request.

right      the reference answer; for a faulty request, the refusal that it deserves
refused    503 with Retry-After, 504, or 429
wrong      any other answer
lost       sent, and neither answered nor refused
cut        the same, where the process that held the connection was killed on purpose
unreached  no connection: nobody was asked
"""
OUTCOMES: tuple[Outcome, ...] = ("right", "refused", "wrong", "lost", "cut", "unreached")

EXAMPLES = 5
TRUTH_S = 1.0
"""Readiness has so long to tell what requests meet."""
AFTERWARDS_S = 0.3
"""What told of a change first was no lie: what requests met next counts as well."""
GROWTH = 0.01
"""Resident memory may grow by this share in a long run."""


class Tally(msgspec.Struct):
    """Requests by what became of them, with a few of those that should not have happened."""

    right: int = 0
    refused: int = 0
    wrong: int = 0
    lost: int = 0
    cut: int = 0
    unreached: int = 0
    examples: list[str] = []

    @property
    def requests(self) -> int:
        """All of them."""
        return sum(getattr(self, one) for one in OUTCOMES)

    def count(self, outcome: Outcome, what: str = "") -> None:
        """Add a request; `what` is kept of the first wrong or lost ones."""
        setattr(self, outcome, getattr(self, outcome) + 1)
        if outcome in ("wrong", "lost") and len(self.examples) < EXAMPLES:
            self.examples.append(what)


def merged(tallies: Iterable[Tally]) -> Tally:
    """All of them as one."""
    total = Tally()
    for one in tallies:
        for outcome in OUTCOMES:
            setattr(total, outcome, getattr(total, outcome) + getattr(one, outcome))
        total.examples += one.examples[: EXAMPLES - len(total.examples)]
    return total


class Fault(msgspec.Struct, frozen=True):
    """Something that was done to the service, `at` seconds after the scenario began."""

    at: float
    what: str


class Bin(msgspec.Struct):
    """A stretch of a scenario: requests that ended in it, and how long (s) the oldest open one had waited at its end."""

    right: int = 0
    refused: int = 0
    unreached: int = 0
    other: int = 0
    oldest: float = 0.0


class Probe(msgspec.Struct, frozen=True):
    """What a health route said, `at` seconds after the scenario began; None: nothing within its time."""

    at: float
    ready: bool | None


class Probes(msgspec.Struct):
    """Health of the whole service and of each model, asked from outside all the while."""

    live: int = 0
    dead: list[str] = []
    service: list[Probe] = []
    models: dict[str, list[Probe]] = {}


class Memory(msgspec.Struct, frozen=True):
    """Resident MiB of all processes after so many requests, `at` seconds after the scenario began."""

    at: float
    requests: int
    mib: float


class Found(msgspec.Struct):
    """One scenario. `recovered_s`: from the last fault's end until every kind of request was answered rightly again."""

    name: str
    about: str
    seconds: float = 0.0
    models: dict[str, Tally] = {}
    faults: list[Fault] = []
    probes: Probes = msgspec.field(default_factory=Probes)
    courses: dict[str, list[Bin]] = {}
    bin_s: float = 0.1
    truth_s: float = TRUTH_S
    memory: list[Memory] = []
    recovered_s: float | None = None
    missed: list[str] = []
    """What the scenario itself asked for and did not find."""
    notes: list[str] = []

    @property
    def total(self) -> Tally:
        """All models' requests."""
        return merged(self.models.values())


class Report(msgspec.Struct):
    """A whole run. `skipped`: scenarios that this machine cannot do, with the reason."""

    date: str
    machine: dict[str, str | int | float]
    found: list[Found] = []
    skipped: dict[str, str] = {}

    @property
    def total(self) -> Tally:
        """All scenarios' requests."""
        return merged(one.total for one in self.found)


def violations(found: Found) -> Iterator[str]:
    """What does not hold in one scenario."""
    total = found.total
    for outcome in ("wrong", "lost"):
        if number := getattr(total, outcome):
            first = f", first: {total.examples[0]}" if total.examples else ""
            yield f"{number} of {total.requests} answers were {outcome}, none may be{first}"
    if found.probes.dead:
        dead = found.probes.dead
        yield f"liveness failed {len(dead)} of {found.probes.live} times, first: {dead[0]}"
    yield from lies(found)
    yield from found.missed


def lies(found: Found) -> Iterator[str]:
    """Where a model's readiness said, for longer than `truth_s`, the opposite of what every request to it met."""
    for model, probes in found.probes.models.items():
        course = found.courses.get(model, [])
        wrong = [one for one in probes if one.ready is not None and lie(one, course, found)]
        if wrong:
            said = "ready" if wrong[0].ready else "not ready"
            yield (
                f"{model} said {said} {wrong[0].at:.1f} s after the beginning ({len(wrong)} of {len(probes)} probes), "
                f"while every request had met the opposite for {found.truth_s:g} s, and went on to"
            )


def lie(probe: Probe, course: list[Bin], found: Found) -> bool:
    """Whether all that ended in the `truth_s` before a probe, and shortly after it, contradicts what it said."""
    here, before, after = (
        round(span / found.bin_s) for span in (probe.at, found.truth_s, AFTERWARDS_S)
    )
    around = course[max(0, here - before) : here + after]
    if len(around) < before + after:
        return False
    if probe.ready:
        refused = sum(one.refused for one in around)
        waited = around[-1].oldest > found.truth_s
        return not any(one.right for one in around) and (refused > 0 or waited)
    return not any(one.refused for one in around) and all(one.right for one in around)


def growth(memory: list[Memory]) -> float:
    """The share by which memory grows from the first third of the samples' end to the end, by a straight line through what lies between."""
    settled = memory[len(memory) // 3 :]
    if len(settled) < 3:
        return 0.0
    xs, ys = [float(one.requests) for one in settled], [one.mib for one in settled]
    middle, level = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - middle) ** 2 for x in xs)
    rise = sum((x - middle) * (y - level) for x, y in zip(xs, ys, strict=True))
    slope = rise / spread if spread else 0.0
    return slope * (xs[-1] - xs[0]) / level
