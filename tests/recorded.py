"""Recordings of load tests that never were: a clock that tests move, and seconds in which given requests come to their end."""

from collections.abc import Iterable
from typing import NamedTuple

from loadtests.recording import Recorder, Recording, Stage


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Second(NamedTuple):
    """What comes to its end in a second, of each model."""

    answered: int = 100
    latency_ms: float = 10.0
    failed: int = 0
    shed: int = 0
    models: tuple[str, ...] = ("cnn", "lstm")


FINE = Second()


def feed(recorder: Recorder, second: Second, *, timed: bool = True) -> None:
    timings = {"queue": second.latency_ms / 10, "compute": second.latency_ms / 2} if timed else {}
    recorder.tick()
    for model in second.models:
        for _ in range(second.answered):
            recorder.count(model, "answered", second.latency_ms, timings)
        for _ in range(second.failed):
            recorder.count(model, "failed", 1.0, {})
        for _ in range(second.shed):
            recorder.count(model, "shed", 1.0, {})


def recording(
    shape: str, stages: Iterable[tuple[Stage, Second]], *, timed: bool = True
) -> Recording:
    """A run in which every second of a stage is alike."""
    stages = list(stages)
    clock = Clock()
    current = stages[0][0]
    total = sum(stage.seconds for stage, _ in stages)
    recorder = Recorder(shape, total, lambda: current.users, clock)
    ends = 0.0
    for stage, second in stages:
        current = stage
        recorder.enter(stage)
        for index in range(round(stage.seconds)):
            clock.now = ends + index + 0.5
            feed(recorder, second, timed=timed)
        ends += stage.seconds
        clock.now = ends
    return recorder.end()


def steady(second: Second = FINE, seconds: float = 4, *, timed: bool = True) -> Recording:
    return recording("steady", [(Stage("steady", 8, seconds), second)], timed=timed)


def ramp(*seconds: Second) -> Recording:
    """Steps of 6, 12, 24, ... users, four seconds each."""
    stages = [Stage(f"step {n}", 6 * 2**n, 4, judged=False) for n in range(len(seconds))]
    return recording("ramp", zip(stages, seconds, strict=True))


def spike(
    before: Second, burst: Second, after: Second, recovery: Second | None = None
) -> Recording:
    stages = [
        (Stage("before", 8, 6), before),
        (Stage("burst", 40, 4, judged=False), burst),
        (Stage("recovery", 8, 2, judged=False), recovery or after),
        (Stage("after", 8, 8), after),
    ]
    return recording("spike", stages)
