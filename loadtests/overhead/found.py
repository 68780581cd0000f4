"""What a run found, as it is kept in overhead.json, and the lines by which it is judged. Pure.

A ratio is taken within one round; what counts is the median over rounds.
"""

import itertools
from collections.abc import Callable, Iterable
from statistics import median
from typing import Literal

import msgspec

from loadtests.compare.results import Verdict
from loadtests.overhead.bodies import FORMS

CNN, TEXT = "fashion-cnn", "sentiment-transformer"
TRIVIAL = "trivial-cnn"
"""Takes and gives what the CNN does and computes almost nothing; as long as its name, for answers of the same length."""
FRONT_END_CPU = {"binary": 2.2, "JSON": 3.5}
OF_LITESTAR, OF_THE_LOOP, ADDED_MS = 0.70, 0.90, 0.6
TOGETHER = 32


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One server under one load in one round. `cpu_us`: microseconds that its front-end process spent on a request."""

    round: int
    server: str
    form: str
    model: str
    variant: str
    concurrency: int
    requests: int
    failures: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float

    @property
    def usable(self) -> bool:
        """Whether at least 99 of 100 requests were answered."""
        return bool(self.requests) and self.failures <= self.requests / 100


class Raw(msgspec.Struct, frozen=True, kw_only=True):
    """ONNX Runtime in a loop with one thread: rows one at a time, or in full batches of Evergreen's buckets and caps."""

    round: int
    model: str
    variant: str
    batches: Literal["alone", "buckets"]
    rows_per_second: float
    p50_ms: float
    caps: dict[str, int] = {}


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """What is told without a target: its median over rounds."""

    what: str
    value: float
    unit: str
    rounds: list[float]


class Found(msgspec.Struct, kw_only=True):
    """Everything of one run."""

    date: str
    machine: dict[str, str | int | float]
    options: dict[str, str | int]
    versions: dict[str, str]
    notes: list[str] = []
    samples: list[Sample] = []
    raw: list[Raw] = []
    verdicts: list[Verdict] = []
    figures: list[Figure] = []


Quantity = Callable[[Sample], float]


def cpu(sample: Sample) -> float:
    """Of the front end, for a request."""
    return sample.cpu_us


def pace(sample: Sample) -> float:
    """Requests a second."""
    return sample.per_second


def select(samples: Iterable[Sample], **wanted: object) -> list[Sample]:
    """Usable ones whose fields are as wanted."""
    return [
        one
        for one in samples
        if one.usable and all(getattr(one, name) == value for name, value in wanted.items())
    ]


def against(
    samples: Iterable[Sample], form: str, other: str, quantity: Quantity, model: str = CNN
) -> list[float]:
    """Evergreen's figure with `model` over that of a stand-in for each round that has both, under full load."""
    load = select(samples, form=form, concurrency=TOGETHER)
    theirs = {one.round: quantity(one) for one in select(load, server=other)}
    ours = select(load, server="evergreen", model=model)
    return [quantity(one) / theirs[one.round] for one in ours if theirs.get(one.round)]


def added(found: Found, model: str, form: str) -> list[float]:
    """Milliseconds between the p50 of Evergreen at concurrency 1 and of the raw run, for each round."""
    raw = {
        (one.round, one.variant): one.p50_ms
        for one in found.raw
        if (one.model, one.batches) == (model, "alone")
    }
    ours = select(found.samples, server="evergreen", model=model, form=form, concurrency=1)
    keyed = [(one.p50_ms, raw.get((one.round, one.variant))) for one in ours]
    return [p50 - alone for p50, alone in keyed if alone is not None]


def share(found: Found, variant: str) -> list[float]:
    """What arrives at the client of what the loop in the same buckets does, for each round."""
    raw = {
        one.round: one.rows_per_second
        for one in found.raw
        if (one.model, one.variant, one.batches) == (TEXT, variant, "buckets")
    }
    ours = select(
        found.samples, server="evergreen", model=TEXT, variant=variant, concurrency=TOGETHER
    )
    return [one.per_second / raw[one.round] for one in ours if one.round in raw]


def judged(found: Found) -> list[Verdict]:
    """Every line that has a target, in the order of the targets' table."""
    lines = []
    for form in FORMS:
        ratios = against(found.samples, form, "bare", cpu)
        what = f"front-end CPU a request over bare uvicorn's, {form}, c=32"
        lines.append(verdict(what, FRONT_END_CPU[form], ratios, "bare", at_most=True))
    ratios = against(found.samples, "binary", "litestar", pace, TRIVIAL)
    what = "requests/s with a trivial model behind it, over a constant's from a Litestar handler of the same app, binary, c=32"
    lines.append(verdict(what, OF_LITESTAR, ratios, "litestar"))
    alone = {(one.model, one.variant) for one in found.raw if one.batches == "alone"}
    for model, variant in sorted(alone):
        for form in FORMS:
            if milliseconds := added(found, model, form):
                what = f"{model} {variant}, p50 added to the raw session run, {form}, c=1"
                one = verdict(what, ADDED_MS, milliseconds, "the loop", at_most=True, unit=" ms")
                lines.append(one)
    for variant in sorted({one.variant for one in found.raw if one.batches == "buckets"}):
        what = f"{TEXT} {variant}, share of the raw loop in the same buckets that arrives, c=32"
        lines.append(verdict(what, OF_THE_LOOP, share(found, variant), "the loop"))
    return lines


def verdict(
    what: str,
    target: float,
    values: list[float],
    other: str,
    *,
    at_most: bool = False,
    unit: str = "x",
) -> Verdict:
    """A line; without values it is unknown, never met."""
    return Verdict(
        what=what,
        target=target,
        value=median(values) if values else None,
        unit=unit,
        at_most=at_most,
        rounds=values,
        against=other,
    )


def figures(found: Found) -> list[Figure]:
    """What helps to understand the verdicts: either model's shares of every stand-in, by requests a second and by CPU."""
    quantities = (("requests/s", pace), ("front-end CPU a request", cpu))
    lines = []
    for model, form, other, (name, quantity) in itertools.product(
        (CNN, TRIVIAL), FORMS, ("bare", "litestar", "hot"), quantities
    ):
        if values := against(found.samples, form, other, quantity, model):
            what = f"{model}: {name} over those of the constant from {other}, {form}, c=32"
            lines.append(Figure(what=what, value=median(values), unit="x", rounds=values))
    return lines
