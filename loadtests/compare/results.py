"""What a run found, as it is kept in compare.json, and the arithmetic on it: medians, and ratios within one round. Pure.

Figures of different rounds are never divided by each other: the machine's speed changes between rounds by more than servers differ.
"""

from collections.abc import Callable, Iterable
from statistics import median

import msgspec


class Measurement(msgspec.Struct, frozen=True, kw_only=True):
    """One server at one concurrency in one round. CPU is of its whole process tree; memory is the sum of proportional set sizes."""

    round: int
    model: str
    variant: str
    server: str
    batching: bool
    concurrency: int
    requests: int
    failures: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_s_per_1000: float
    memory_mib: float


class Limit(msgspec.Struct, frozen=True, kw_only=True):
    """ONNX Runtime in a loop, one thread, in one round: rows a second, and the median of one run."""

    round: int
    model: str
    variant: str
    batch: int
    rows_per_second: float
    p50_ms: float


class Absence(msgspec.Struct, frozen=True, kw_only=True):
    """What was to be measured and could not be. `batching` None: the server as a whole."""

    server: str
    reason: str
    model: str | None = None
    variant: str | None = None
    batching: bool | None = None


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the judgement. `value` is the median over rounds; None where something it needs was not measured."""

    what: str
    target: float
    value: float | None
    unit: str = "x"
    at_most: bool = False
    rounds: list[float] = []
    against: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the target is reached."""
        if self.value is None:
            return None
        return self.value <= self.target if self.at_most else self.value >= self.target


class Results(msgspec.Struct, kw_only=True):
    """Everything. `machine`, `options`, `versions` and `batching` tell how to read it; nothing here names this machine or its folders."""

    date: str
    machine: dict[str, str | int | float]
    options: dict[str, str | int]
    versions: dict[str, dict[str, str]]
    batching: dict[str, str] = {}
    rows: dict[str, str] = {}
    notes: list[str] = []
    measurements: list[Measurement] = []
    limits: list[Limit] = []
    absences: list[Absence] = []
    verdicts: list[Verdict] = []


def rounds(measurements: Iterable[Measurement]) -> list[int]:
    """The rounds that there are."""
    return sorted({one.round for one in measurements})


def select(measurements: Iterable[Measurement], **wanted: object) -> list[Measurement]:
    """Those whose fields are as wanted."""
    return [one for one in measurements if all(getattr(one, k) == v for k, v in wanted.items())]


def middle(
    measurements: Iterable[Measurement], figure: Callable[[Measurement], float]
) -> float | None:
    """The median of a figure; None of nothing."""
    values = [figure(one) for one in measurements]
    return median(values) if values else None


def usable(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Those in which at least 99 of 100 requests were answered: a server that refuses load is not fast."""
    return [one for one in measurements if one.requests and one.failures <= one.requests / 100]


def fastest(measurements: Iterable[Measurement]) -> Measurement | None:
    """The one with the most requests a second."""
    return max(usable(measurements), key=lambda one: one.per_second, default=None)


def write(results: Results) -> bytes:
    """As compare.json."""
    return msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n"


def read(text: bytes) -> Results:
    """What `write` wrote."""
    return msgspec.json.decode(text, type=Results)
