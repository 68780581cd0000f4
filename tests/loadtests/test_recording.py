"""A recording holds what was counted, when it was counted."""

import pytest
import recorded
from recorded import Clock, Second, feed

from loadtests.recording import MOST_WINDOWS, Recorder, Stage, Tally, merged


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recorder(clock: Clock) -> Recorder:
    return Recorder("steady", 10, lambda: 3, clock)


def test_percentile_is_of_answered_requests_only() -> None:
    tally = Tally()
    for latency in range(1, 101):
        tally.count("answered", latency, {})
    for _ in range(900):
        tally.count("shed", 0.1, {})
        tally.count("failed", 60_000, {})
    assert tally.percentile(0.5) == pytest.approx(50, abs=1)
    assert tally.percentile(0.99) == pytest.approx(99, abs=1)
    assert (tally.requests, tally.answered) == (1900, 100)


def test_percentile_keeps_three_figures() -> None:
    tally = Tally()
    tally.count("answered", 0.12345, {})
    assert tally.percentile(0.5) == 0.123


def test_nothing_answered_has_no_percentile() -> None:
    tally = Tally()
    tally.count("failed", 5, {})
    assert tally.percentile(0.5) is None


def test_rest_is_what_the_server_does_not_explain() -> None:
    tally = Tally()
    tally.count("answered", 10, {"queue": 1, "compute": 4, "total": 6})
    tally.count("answered", 10, {})
    assert (tally.queue_ms, tally.compute_ms, tally.rest_ms, tally.timed) == (1, 4, 5, 1)


def test_merging_adds_and_leaves_its_parts_alone() -> None:
    parts = [Tally(), Tally()]
    for part in parts:
        part.count("answered", 10, {"queue": 1, "compute": 2})
        part.count("shed", 1, {})
    total = merged(parts)
    assert (total.answered, total.shed, total.latencies) == (2, 2, {10.0: 2})
    assert (total.queue_ms, total.timed) == (2, 2)
    assert parts[0].latencies == {10.0: 1}


def test_request_counts_in_the_window_and_the_stage_of_its_end(
    recorder: Recorder, clock: Clock
) -> None:
    for name, at in (("first", 0.0), ("second", 2.0)):
        clock.now = at
        recorder.enter(Stage(name, 3, 2))
        clock.now = at + 1.2
        recorder.count("cnn", "answered", 5, {})
    clock.now = 4.0
    run = recorder.end()
    assert [(w.begins, w.ends, w.tally("cnn").answered) for w in run.windows] == [
        (0, 1, 0),
        (1, 2, 1),
        (2, 3, 0),
        (3, 4, 1),
    ]
    assert [(s.begins, s.ends, s.tally("cnn").answered) for s in run.stages] == [
        (0, 2, 1),
        (2, 4, 1),
    ]


def test_seconds_in_which_nothing_ends_are_windows_too(recorder: Recorder, clock: Clock) -> None:
    recorder.enter(Stage("steady", 3, 5))
    for second in range(5):
        clock.now = second + 0.5
        recorder.tick()
    clock.now = 5.0
    run = recorder.end()
    assert [(w.users, w.total().requests) for w in run.windows] == [(3, 0)] * 5


def test_narrow_last_window_is_added_to_the_one_before(recorder: Recorder, clock: Clock) -> None:
    recorder.enter(Stage("steady", 3, 2))
    for at in (0.5, 1.5, 2.05):
        clock.now = at
        feed(recorder, Second(answered=10))
    clock.now = 2.1
    run = recorder.end()
    assert [(w.begins, w.ends) for w in run.windows] == [(0, 1), (1, 2.1)]
    assert run.windows[-1].tally("cnn").answered == 20
    assert run.windows[-1].rate(run.windows[-1].tally("cnn")) == pytest.approx(20 / 1.1)


def test_long_run_takes_no_more_windows() -> None:
    run = recorded.steady(Second(answered=1), seconds=3600)
    assert len(run.windows) == MOST_WINDOWS
    assert run.whole().total().answered == 7200


def test_beginning_again_forgets(recorder: Recorder, clock: Clock) -> None:
    recorder.enter(Stage("steady", 3, 2))
    recorder.count("cnn", "answered", 5, {})
    clock.now = 7.0
    recorder.begin()
    recorder.enter(Stage("steady", 3, 2))
    clock.now = 8.0
    recorder.count("cnn", "answered", 5, {})
    run = recorder.end()
    assert (run.seconds, run.whole().total().answered) == (1.0, 1)
