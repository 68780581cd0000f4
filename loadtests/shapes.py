"""How many users when: steady, ramp, spike, soak. `tick` is asked once a second; the run ends when it says None.

    steady   the same users all the time: what does it do?
    ramp     twice as many users at each step, until the service no longer keeps up or the ceiling is reached: how much can it do?
    spike    a burst of several times as many users: what happens to those who come then, and is it as before afterwards?
    soak     steady for long, the first and the last tenth apart: does it stay as it was?

Every shape is bounded before it starts: in users, in seconds and in requests. It must not know Locust, see recording.py.
"""

import time
from collections.abc import Callable, Mapping
from typing import ClassVar

import msgspec

from loadtests.recording import Recorder, Stage
from loadtests.thresholds import overload

MOST_USERS = 2_000
MOST_SECONDS = 24 * 3600
MOST_SPAWNED_PER_S = 100.0
"""Locust warns above; a burst of less is there within a second."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a shape is made of. For the ramp `users` is the ceiling, for the spike the number before and after the burst."""

    users: int
    seconds: float
    ramp_from: int = 6
    spike_factor: float = 5.0
    max_requests: int = 10_000_000
    spawn_rate: float = MOST_SPAWNED_PER_S
    p99_ms: float | None = None


class Shape:
    """Stages one after the other; `users` tells how many there are. ValueError names both figures of a plan that is not to be run."""

    name: ClassVar[str]
    users: ClassVar[int]
    seconds: ClassVar[float]
    """How many and how long, when nobody says."""
    sheds: ClassVar[bool] = False
    """Whether refusals with Retry-After are what the shape is to bring about, and no fault unless asked for."""

    def __init__(
        self,
        plan: Plan,
        users: Callable[[], int],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.plan = plan
        self.stages = self.staged(plan)
        check(self.stages, plan)
        self.recorder = Recorder(self.name, plan.seconds, users, clock)
        self.clock = clock
        self.begin()

    @staticmethod
    def staged(plan: Plan) -> list[Stage]:
        """The stages of the plan."""
        raise NotImplementedError

    def at(self, seconds: float) -> Stage | None:
        """The stage at a time from the start; None when all are over."""
        for stage in self.stages:
            if seconds < stage.seconds:
                return stage
            seconds -= stage.seconds
        return None

    def elapsed(self) -> float:
        """Seconds since the first user came."""
        return self.clock() - self.started

    def begin(self) -> None:
        """The first user comes now."""
        self.current = self.stages[0]
        self.started = self.clock()
        self.recorder.begin()
        self.recorder.enter(self.current)

    def tick(self) -> tuple[int, float] | None:
        """How many users there should be now, and how many may come or go in a second; None ends the run."""
        # Half a second more, so that a stage changes at the tick that is nearest.
        stage = self.at(self.elapsed() + 0.5)
        if stage is None or self.asked_enough():
            return None
        if stage is not self.current:
            if self.found_enough():
                return None
            self.current = stage
            self.recorder.enter(stage)
        self.recorder.tick()
        return stage.users, min(self.plan.spawn_rate, MOST_SPAWNED_PER_S)

    def asked_enough(self) -> bool:
        """Whether the bound on requests is reached."""
        return self.recorder.recording.whole().total().requests >= self.plan.max_requests

    def found_enough(self) -> bool:
        """Asked at the end of a stage: whether the next one would tell nothing new."""
        return False


class Steady(Shape):
    """The same number of users from beginning to end."""

    name, users, seconds = "steady", 16, 30.0

    @staticmethod
    def staged(plan: Plan) -> list[Stage]:
        return [Stage("steady", plan.users, plan.seconds)]


class Ramp(Shape):
    """Doubles the users until the service no longer keeps up. Starts with enough for every kind of user to be there in its share."""

    name, users, seconds, sheds = "ramp", 96, 60.0, True

    @staticmethod
    def staged(plan: Plan) -> list[Stage]:
        counts = [min(max(plan.ramp_from, 1), plan.users)]
        while counts[-1] < plan.users:
            counts.append(min(2 * counts[-1], plan.users))
        # Not judged: being overloaded at the end is what a ramp is for.
        return [
            Stage(f"step {number}", users, plan.seconds / len(counts), judged=False)
            for number, users in enumerate(counts, 1)
        ]

    def found_enough(self) -> bool:
        return overload(self.recorder.closed_stages(), self.plan.p99_ms) is not None


class Spike(Shape):
    """A burst, with time before it to know what is usual and time after it to see it return."""

    name, users, seconds, sheds = "spike", 8, 60.0, True

    @staticmethod
    def staged(plan: Plan) -> list[Stage]:
        crowd = round(plan.users * plan.spike_factor)
        return [
            Stage("before", plan.users, 0.3 * plan.seconds),
            Stage("burst", crowd, 0.2 * plan.seconds, judged=False),
            Stage("recovery", plan.users, 0.1 * plan.seconds, judged=False),
            Stage("after", plan.users, 0.4 * plan.seconds),
        ]


class Soak(Shape):
    """Steady for long. Each part is judged alone, so that what slowly gets worse shows in the last one."""

    name, users, seconds = "soak", 8, 3600.0

    @staticmethod
    def staged(plan: Plan) -> list[Stage]:
        return [
            Stage("first tenth", plan.users, 0.1 * plan.seconds),
            Stage("middle", plan.users, 0.8 * plan.seconds),
            Stage("last tenth", plan.users, 0.1 * plan.seconds),
        ]


SHAPES: Mapping[str, type[Shape]] = {shape.name: shape for shape in (Steady, Ramp, Spike, Soak)}


def check(stages: list[Stage], plan: Plan) -> None:
    """Refuse what would be no test, or one without end."""
    for stage in stages:
        if not 1 <= stage.users <= MOST_USERS:
            raise ValueError(f"{stage.users} users were asked for, there can be 1 to {MOST_USERS}")
    if plan.seconds > MOST_SECONDS:
        raise ValueError(f"{plan.seconds:g} s were asked for, a run lasts at most {MOST_SECONDS} s")
    shortest = min(stage.seconds for stage in stages)
    if shortest < 1:
        needed = plan.seconds / shortest if shortest > 0 else 1
        raise ValueError(
            f"{plan.seconds:g} s were asked for, these {len(stages)} stages need at least {needed:.0f} s: "
            "the number of users changes once a second"
        )
