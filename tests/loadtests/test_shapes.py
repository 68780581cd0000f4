"""A shape is a function of time that has an end."""

from collections.abc import Callable
from typing import Any

import pytest
from recorded import Clock, Second, feed

from loadtests.shapes import MOST_SECONDS, MOST_USERS, SHAPES, Plan, Shape


def shaped(name: str, clock: Clock | None = None, **plan: Any) -> Shape:
    return SHAPES[name](Plan(**plan), lambda: plan["users"], clock or Clock())


def users(shape: Shape, *times: float) -> list[int | None]:
    return [stage and stage.users for stage in map(shape.at, times)]


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_steady_is_the_same_from_beginning_to_end() -> None:
    assert users(shaped("steady", users=16, seconds=30), 0, 15, 29.9, 30) == [16, 16, 16, None]


def test_soak_sets_the_first_and_the_last_tenth_apart() -> None:
    shape = shaped("soak", users=8, seconds=100)
    assert users(shape, 0, 50, 99.9, 100) == [8, 8, 8, None]
    assert [stage and stage.name for stage in map(shape.at, (9, 11, 89, 91))] == [
        "first tenth",
        "middle",
        "middle",
        "last tenth",
    ]
    assert all(stage.judged for stage in shape.stages)


def test_spike_is_a_burst_between_two_baselines() -> None:
    shape = shaped("spike", users=8, seconds=100, spike_factor=5)
    assert users(shape, 0, 29, 31, 49, 51, 99, 100) == [8, 8, 40, 40, 8, 8, None]
    assert [stage.name for stage in shape.stages if stage.judged] == ["before", "after"]


@pytest.mark.parametrize(
    ("ceiling", "steps"), [(96, [6, 12, 24, 48, 96]), (100, [6, 12, 24, 48, 96, 100]), (4, [4])]
)
def test_ramp_doubles_up_to_the_ceiling(ceiling: int, steps: list[int]) -> None:
    shape = shaped("ramp", users=ceiling, seconds=60)
    assert [stage.users for stage in shape.stages] == steps
    assert {stage.seconds for stage in shape.stages} == {60 / len(steps)}
    assert not any(stage.judged for stage in shape.stages)


def run(shape: Shape, clock: Clock, answers: Callable[[int], Second]) -> list:
    """What Locust hears each second, until it hears None."""
    heard = []
    for second in range(10_000):
        clock.now = second
        heard.append(tick := shape.tick())
        if tick is None:
            return heard
        clock.now = second + 0.5
        feed(shape.recorder, answers(tick[0]))
    raise AssertionError("the shape has no end")


@pytest.mark.parametrize("name", SHAPES)
def test_run_ends_by_itself_and_is_recorded_from_its_first_second(name: str, clock: Clock) -> None:
    shape = shaped(name, clock, users=12, seconds=20)
    heard = run(shape, clock, lambda users: Second(answered=10 * users))
    assert len(heard) == 21
    recording = shape.recorder.end()
    assert recording.stages[0].begins == 0
    assert recording.whole().total().answered == sum(20 * users for users, _ in heard[:-1])
    assert [s.stage for s in recording.stages] == shape.stages


def test_ramp_goes_no_further_than_the_service(clock: Clock) -> None:
    shape = shaped("ramp", clock, users=192, seconds=60)
    heard = run(shape, clock, lambda users: Second(answered=min(10 * users, 120)))
    assert sorted({tick[0] for tick in heard if tick}) == [6, 12, 24, 48]


def test_bound_on_requests_ends_a_run(clock: Clock) -> None:
    shape = shaped("steady", clock, users=8, seconds=100, max_requests=900)
    assert len(run(shape, clock, lambda _: Second(answered=100))) == 6  # 200 a second


def test_what_came_before_the_beginning_is_forgotten(clock: Clock) -> None:
    shape = shaped("steady", clock, users=8, seconds=5)
    feed(shape.recorder, Second())
    clock.now = 3.7
    shape.begin()
    clock.now = 8.0
    assert shape.tick() is not None
    clock.now = 8.3  # the tick that is nearest to the end
    assert shape.tick() is None
    assert shape.recorder.end().models == []


def test_users_come_no_faster_than_locust_can_spawn() -> None:
    assert shaped("steady", users=500, seconds=5, spawn_rate=400).tick() == (500, 100)
    assert shaped("steady", users=500, seconds=5, spawn_rate=7).tick() == (500, 7)


@pytest.mark.parametrize("name", SHAPES)
def test_figures_of_its_own_are_within_the_bounds(name: str) -> None:
    shape = SHAPES[name]
    assert shaped(name, users=shape.users, seconds=shape.seconds).stages


@pytest.mark.parametrize(
    ("name", "plan", "message"),
    [
        ("steady", {"users": 2001, "seconds": 30}, f"2001 users .* 1 to {MOST_USERS}"),
        ("steady", {"users": 0, "seconds": 30}, "0 users"),
        ("spike", {"users": 500, "seconds": 30}, f"2500 users .* 1 to {MOST_USERS}"),
        ("soak", {"users": 8, "seconds": 90_000}, f"90000 s .* at most {MOST_SECONDS} s"),
        ("soak", {"users": 8, "seconds": 5}, "5 s .* at least 10 s"),
        ("ramp", {"users": 96, "seconds": 4}, "4 s .* these 5 stages need at least 5 s"),
    ],
)
def test_plan_beyond_the_bounds_is_refused_with_both_figures(
    name: str, plan: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        shaped(name, **plan)
