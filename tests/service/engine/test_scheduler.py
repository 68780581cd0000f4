"""The scheduler's rules, with a clock that the test holds."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from service.engine.scheduler import Entry, Scheduler
from service.errors import QueueFull

FAR = 1e9


def entry(
    number: int, rows: int = 1, bucket: object = "a", arrived: float = 0.0, deadline: float = FAR
) -> Entry:
    return Entry((0, number), bucket, rows, arrived, deadline)


def numbers(batch: list[Entry]) -> list[int]:
    return [one.key[1] for one in batch]


def test_an_idle_engine_takes_what_is_queued_at_once():
    scheduler = Scheduler(8, 100)
    scheduler.add(entry(1))
    assert numbers(scheduler.next_batch(0.0)[0]) == [1]


def test_requests_that_queued_meanwhile_are_the_next_batch_in_order():
    scheduler = Scheduler(8, 100)
    for number in range(5):
        scheduler.add(entry(number, arrived=number))
    assert numbers(scheduler.next_batch(9.0)[0]) == [0, 1, 2, 3, 4]
    assert scheduler.next_batch(9.0) == ([], [])


def test_a_batch_counts_rows_not_requests():
    scheduler = Scheduler(8, 100)
    for number, rows in enumerate((3, 3, 3)):
        scheduler.add(entry(number, rows))
    assert numbers(scheduler.next_batch(0.0)[0]) == [0, 1]


def test_a_request_larger_than_the_cap_runs_alone_and_whole():
    scheduler = Scheduler(4, 100)
    scheduler.add(entry(0, 9))
    scheduler.add(entry(1, 1))
    assert numbers(scheduler.next_batch(0.0)[0]) == [0]
    assert numbers(scheduler.next_batch(0.0)[0]) == [1]


def test_only_one_bucket_shares_a_batch_and_the_longest_waiting_goes_first():
    scheduler = Scheduler(8, 100)
    for number, bucket in enumerate("baba"):
        scheduler.add(entry(number, bucket=bucket, arrived=number))
    assert numbers(scheduler.next_batch(9.0)[0]) == [0, 2]
    assert numbers(scheduler.next_batch(9.0)[0]) == [1, 3]


def test_a_busy_bucket_cannot_starve_another():
    scheduler = Scheduler(1, 1000)
    scheduler.add(entry(999, bucket="rare", arrived=5.0))
    for number in range(20):
        scheduler.add(entry(number, bucket="busy", arrived=float(number)))
    served = [numbers(scheduler.next_batch(50.0)[0])[0] for _ in range(7)]
    assert 999 in served


def test_a_full_queue_refuses_with_the_time_it_takes_to_drain():
    scheduler = Scheduler(8, 10)
    scheduler.ran(rows=100, seconds=1.0)
    scheduler.add(entry(0, 10))
    with pytest.raises(QueueFull, match="holds 10 rows of at most 10, 1 more") as refused:
        scheduler.add(entry(1))
    assert refused.value.retry_after == pytest.approx(0.1)
    assert scheduler.queued_rows == 10


def test_a_cancelled_request_never_runs():
    scheduler = Scheduler(8, 100)
    for number in range(3):
        scheduler.add(entry(number))
    assert scheduler.cancel((0, 1))
    assert numbers(scheduler.next_batch(0.0)[0]) == [0, 2]
    assert not scheduler.cancel((0, 1))


def test_a_request_whose_deadline_has_passed_is_given_back_and_never_run():
    scheduler = Scheduler(8, 100)
    scheduler.add(entry(0, deadline=1.0))
    scheduler.add(entry(1, deadline=3.0))
    batch, expired = scheduler.next_batch(2.0)
    assert (numbers(batch), numbers(expired)) == ([1], [0])


def test_a_held_scheduler_starts_nothing_until_enough_rows_are_queued():
    scheduler = Scheduler(8, 100)
    scheduler.hold(3)
    scheduler.add(entry(0, 2))
    assert scheduler.next_batch(0.0) == ([], [])
    scheduler.add(entry(1, 1))
    assert numbers(scheduler.next_batch(0.0)[0]) == [0, 1]
    scheduler.add(entry(2))
    assert numbers(scheduler.next_batch(0.0)[0]) == [2]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 10))
def test_every_request_runs_exactly_once(rows: list[int], cap: int):
    scheduler = Scheduler(cap, 10_000)
    for number, count in enumerate(rows):
        scheduler.add(entry(number, count, bucket=number % 3, arrived=number))
    ran: list[int] = []
    while batch := scheduler.next_batch(99.0)[0]:
        assert len(batch) == 1 or sum(one.rows for one in batch) <= cap
        assert len({one.bucket for one in batch}) == 1
        ran += numbers(batch)
    assert sorted(ran) == list(range(len(rows)))
    assert scheduler.queued_rows == 0


class SchedulerMachine(RuleBasedStateMachine):
    """Any order of calls leaves each request either waiting, run, cancelled or expired, and the row count true."""

    @initialize()
    def begin(self) -> None:
        self.scheduler = Scheduler(5, 30)
        self.waiting: dict[int, Entry] = {}
        self.now, self.next = 0.0, 0

    @rule(rows=st.integers(1, 7), bucket=st.sampled_from("ab"), patience=st.floats(0.1, 5))
    def add(self, rows: int, bucket: str, patience: float) -> None:
        one = entry(self.next, rows, bucket, self.now, self.now + patience)
        self.next += 1
        try:
            self.scheduler.add(one)
            self.waiting[one.key[1]] = one
        except QueueFull:
            assert sum(e.rows for e in self.waiting.values()) + rows > 30

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, max(self.next, 1)))
        assert self.scheduler.cancel((0, number)) == (self.waiting.pop(number, None) is not None)

    @rule(seconds=st.floats(0, 2))
    def run(self, seconds: float) -> None:
        self.now += seconds
        batch, expired = self.scheduler.next_batch(self.now)
        for one in expired:
            assert one.deadline <= self.now
            del self.waiting[one.key[1]]
        if not batch:
            assert not self.waiting
        for one in batch:
            assert one.deadline > self.now
            del self.waiting[one.key[1]]

    @invariant()
    def rows_are_counted(self) -> None:
        if hasattr(self, "scheduler"):
            assert self.scheduler.queued_rows == sum(one.rows for one in self.waiting.values())


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
