"""The scheduler's rules, with a clock that the test holds."""

from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from service.engine.lanes import HIGH, LOW, NORMAL, Entry
from service.engine.latency import Bucket, LatencyTable
from service.engine.scheduler import (
    AGEING_SECONDS,
    MOST_LOWERED,
    RESTORE_AFTER,
    Batch,
    Limits,
    Scheduler,
)
from service.errors import DeadlineUnmeetable, QueueFull

FAR = 1e9
SHORT, LONG = Bucket(16), Bucket(64)


def scheduler(
    cap: int = 8, curve: Mapping[Bucket, Mapping[int, float]] | None = None, **limits: float
) -> Scheduler:
    return Scheduler(
        Limits(**{"instances": 100, **limits}),  # type: ignore[arg-type]
        {SHORT: cap, LONG: cap},
        LatencyTable(curve),
    )


def entry(
    number: int,
    rows: int = 1,
    bucket: Bucket = SHORT,
    arrived: float = 0.0,
    deadline: float = FAR,
    priority: int = NORMAL,
) -> Entry:
    return Entry((0, number), bucket, rows, arrived, deadline, priority)


def add(one: Scheduler, *entries: Entry) -> None:
    for each in entries:
        one.add(each, each.arrived)


def numbers(batch: Batch | None) -> list[int]:
    return [] if batch is None else [one.key[1] for one in batch.entries]


# -- batches form by back-pressure


def test_an_idle_engine_takes_what_is_queued_at_once():
    one = scheduler()
    add(one, entry(1))
    assert numbers(one.next_batch(0.0)) == [1]


def test_a_busy_engine_lets_the_queue_grow_into_the_next_batch():
    one = scheduler(instances=1)
    add(one, entry(0))
    first = one.next_batch(0.0)
    add(one, *(entry(number, arrived=1.0) for number in range(1, 5)))
    assert one.next_batch(1.0) is None
    assert first is not None
    one.finished(first, 2.0)
    assert numbers(one.next_batch(2.0)) == [1, 2, 3, 4]


def test_as_many_batches_run_at_a_time_as_there_are_instances():
    one = scheduler(cap=1, instances=2)
    add(one, *(entry(number) for number in range(3)))
    assert [numbers(one.next_batch(0.0)) for _ in range(3)] == [[0], [1], []]


def test_a_batch_counts_rows_not_requests():
    one = scheduler()
    add(one, *(entry(number, rows=3) for number in range(3)))
    assert numbers(one.next_batch(0.0)) == [0, 1]


def test_a_request_larger_than_the_cap_runs_alone_and_whole():
    one = scheduler(cap=4)
    add(one, entry(0, rows=9), entry(1))
    assert numbers(one.next_batch(0.0)) == [0]
    assert numbers(one.next_batch(0.0)) == [1]


def test_rows_times_padded_length_are_bounded_too():
    one = scheduler(cap=8, max_batch_tokens=128)
    add(one, *(entry(number, bucket=LONG) for number in range(4)))
    assert numbers(one.next_batch(0.0)) == [0, 1]
    assert one.cap(SHORT) == 8
    assert scheduler(max_batch_tokens=10).cap(LONG) == 1


def test_a_length_that_was_not_measured_takes_the_cap_of_its_neighbour():
    one = Scheduler(Limits(), {SHORT: 8, LONG: 2}, LatencyTable())
    assert (one.cap(Bucket(20)), one.cap(Bucket(300))) == (8, 2)


def test_larger_rows_than_were_measured_make_smaller_batches_and_smaller_ones_no_larger():
    measured = Bucket(1, ((3, 8, 8), (2,)))
    one = Scheduler(Limits(), {measured: 16}, LatencyTable())
    assert one.cap(Bucket(1, ((3, 16, 16), (8,)))) == 4
    assert one.cap(Bucket(1, ((3, 512, 512), (2,)))) == 1
    assert one.cap(Bucket(1, ((3, 1, 1), (2,)))) == 16
    assert one.cap(Bucket(1, ((0,), (0,)))) == 16


def test_where_one_row_was_measured_every_shape_runs_alone():
    one = Scheduler(Limits(), {Bucket(1, ((8,),)): 1}, LatencyTable())
    add(one, entry(0, bucket=Bucket(1, ((9,),))), entry(1, bucket=Bucket(1, ((9,),))))
    assert numbers(one.next_batch(0.0)) == [0]


def test_shapes_that_callers_choose_leave_nothing_behind():
    measured = Bucket(1, ((8,),))
    one = Scheduler(Limits(instances=1), {measured: 4}, LatencyTable({measured: {1: 0.1}}))
    strange = [Bucket(1, ((8, *[1] * axes),)) for axes in range(1, 3 * MOST_LOWERED)]
    for number, bucket in enumerate(strange):
        add(one, entry(number, bucket=bucket))
        batch = one.next_batch(0.0)
        assert batch is not None
        one.out_of_memory(bucket, 4)
        one.finished(batch, 0.1)
    assert one.caps() == {"8": 4, "other": 2}
    assert [one.cap(bucket) for bucket in strange[-MOST_LOWERED:]] == [2] * MOST_LOWERED
    assert one.cap(strange[-MOST_LOWERED - 1]) == 4  # forgotten
    assert len(one._lowered) == MOST_LOWERED


# -- which bucket, and who within it


def test_only_one_bucket_shares_a_batch_and_the_longest_waiting_goes_first():
    one = scheduler()
    for number, bucket in enumerate((LONG, SHORT, LONG, SHORT)):
        add(one, entry(number, bucket=bucket, arrived=number))
    assert numbers(one.next_batch(9.0)) == [0, 2]
    assert numbers(one.next_batch(9.0)) == [1, 3]


def test_a_busy_bucket_cannot_starve_another():
    one = scheduler(cap=1)
    add(one, entry(999, bucket=LONG, arrived=5.0))
    add(one, *(entry(number, arrived=float(number)) for number in range(20)))
    assert 999 in [numbers(one.next_batch(50.0))[0] for _ in range(7)]


def test_the_earliest_deadline_goes_first_in_a_bucket():
    one = scheduler(cap=1)
    add(one, *(entry(number, deadline=deadline) for number, deadline in enumerate((9, 5, 7))))
    assert [numbers(one.next_batch(0.0))[0] for _ in range(3)] == [1, 2, 0]


def test_a_bucket_whose_deadline_is_near_goes_before_one_that_has_waited_longer():
    one = scheduler(curve={SHORT: {1: 1.0}, LONG: {1: 1.0}})
    add(one, entry(0, bucket=LONG, arrived=0.9), entry(1, arrived=1.0, deadline=2.1))
    assert numbers(one.next_batch(1.0)) == [1]


@pytest.mark.parametrize("bucket", [SHORT, LONG])
def test_a_higher_priority_goes_first_in_its_bucket_and_among_buckets(bucket: Bucket):
    one = scheduler(cap=1)
    add(one, entry(0, priority=LOW), entry(1), entry(2, bucket=bucket, priority=HIGH))
    assert [numbers(one.next_batch(0.0))[0] for _ in range(3)] == [2, 1, 0]


def test_a_low_priority_that_has_waited_long_is_served_between_higher_ones_that_keep_coming():
    one = scheduler(cap=1)
    add(one, entry(0, priority=LOW, arrived=0.0))
    add(one, *(entry(number, priority=HIGH, arrived=0.1) for number in range(1, 6)))
    now = AGEING_SECONDS
    assert [numbers(one.next_batch(now))[0] for _ in range(3)] == [0, 1, 2]
    young = scheduler(cap=1)
    add(young, entry(0, priority=LOW), *(entry(n, priority=HIGH) for n in range(1, 4)))
    assert [numbers(young.next_batch(AGEING_SECONDS / 2))[0] for _ in range(2)] == [1, 2]


def test_ageing_takes_no_more_than_every_second_batch():
    one = scheduler(cap=1)
    add(one, *(entry(number, priority=LOW) for number in range(3)))
    add(one, *(entry(10 + number, priority=HIGH, arrived=9.0) for number in range(3)))
    assert [numbers(one.next_batch(9.0))[0] for _ in range(4)] == [0, 10, 1, 11]


# -- deadlines


def test_a_request_whose_deadline_has_passed_is_given_back_and_never_run():
    one = scheduler()
    add(one, entry(0, deadline=1.0), entry(1, deadline=3.0))
    assert [e.key[1] for e in one.expire(2.0)] == [0]
    assert numbers(one.next_batch(2.0)) == [1]


def test_a_request_that_could_no_longer_be_answered_in_time_is_not_run_either():
    one = scheduler(curve={SHORT: {1: 0.5}}, instances=1)
    add(one, entry(0, deadline=2.0))
    assert one.expire(1.4) == []
    assert [e.key[1] for e in one.expire(1.6)] == [0]


def test_a_request_that_cannot_be_met_is_refused_on_arrival_with_the_time_to_wait():
    one = scheduler(cap=1, curve={SHORT: {1: 1.0}}, instances=1)
    add(one, *(entry(number, priority=HIGH) for number in range(4)))
    one.next_batch(0.0)
    with pytest.raises(DeadlineUnmeetable, match=r"in 5000\.0 ms, 3000\.0 ms were given") as no:
        one.add(entry(9, deadline=3.0), 0.0)
    assert one.queued_rows == 3
    assert no.value.retry_after > 0


def test_what_runs_later_does_not_count_against_a_deadline():
    one = scheduler(cap=1, curve={SHORT: {1: 1.0}}, instances=1)
    add(one, *(entry(number) for number in range(4)))
    one.next_batch(0.0)
    add(one, entry(9, deadline=2.5))  # the running second, then its own
    one.expire(0.0)
    assert one.queued_rows == 4


def test_more_instances_meet_more_deadlines():
    patient = scheduler(cap=1, curve={SHORT: {1: 1.0}}, instances=4)
    add(patient, *(entry(number, deadline=3.1) for number in range(8)))
    assert patient.queued_rows == 8


def test_nobody_is_refused_before_anything_was_measured():
    one = scheduler()
    add(one, *(entry(number, deadline=0.001) for number in range(50)))
    assert one.queued_rows == 50


def test_a_batch_does_not_grow_beyond_what_its_first_deadline_allows():
    curve = {SHORT: {1: 1.0, 2: 2.0, 4: 4.0, 8: 8.0}}
    one = scheduler(curve=curve, instances=1)
    add(one, entry(0, deadline=2.5), entry(1), entry(2))
    assert numbers(one.next_batch(0.0)) == [0, 1]


def test_live_runs_teach_what_can_be_met():
    one = scheduler(instances=1)
    for _ in range(30):
        add(one, entry(0))
        batch = one.next_batch(0.0)
        assert batch is not None
        one.finished(batch, 1.0)
    with pytest.raises(DeadlineUnmeetable):
        one.add(entry(1, deadline=1.5), 1.0)


def test_it_says_when_the_next_deadline_falls():
    one = scheduler()
    assert one.wake_at(0.0) is None
    add(one, entry(0, deadline=7.0), entry(1, deadline=5.0), entry(2, deadline=6.0, bucket=LONG))
    assert one.wake_at(0.0) == 5.0


# -- waiting for company, when asked to


def test_an_idle_engine_waits_for_company_when_told_to_counted_from_the_first_row():
    one = scheduler(max_delay=0.010)
    add(one, entry(0, arrived=0.0), entry(1, arrived=0.008))
    assert one.next_batch(0.009) is None
    assert one.wake_at(0.009) == pytest.approx(0.010)
    assert numbers(one.next_batch(0.010)) == [0, 1]


def test_a_full_batch_does_not_wait():
    one = scheduler(cap=2, max_delay=10.0)
    add(one, entry(0), entry(1))
    assert numbers(one.next_batch(0.0)) == [0, 1]


def test_a_deadline_ends_the_wait_for_company():
    one = scheduler(max_delay=10.0, curve={SHORT: {1: 1.0, 8: 1.0}})
    add(one, entry(0, deadline=1.5))
    assert one.next_batch(0.0) is None
    assert numbers(one.next_batch(0.5)) == [0]


# -- bounds and cancelling


def test_a_full_queue_refuses_with_the_time_until_there_is_room():
    one = scheduler(max_queue_rows=10, instances=1, curve={SHORT: {1: 0.1, 8: 0.8}})
    add(one, entry(0, rows=10))
    with pytest.raises(QueueFull, match="holds 10 rows of at most 10, 1 more") as refused:
        add(one, entry(1))
    assert refused.value.retry_after == pytest.approx(0.1)
    assert one.queued_rows == 10


def test_a_cancelled_request_never_runs():
    one = scheduler()
    add(one, *(entry(number) for number in range(3)))
    assert one.cancel((0, 1))
    assert numbers(one.next_batch(0.0)) == [0, 2]
    assert not one.cancel((0, 1))


def test_a_held_scheduler_starts_nothing_until_enough_requests_are_queued():
    one = scheduler()
    one.hold(2)
    add(one, entry(0, rows=5))
    assert one.next_batch(0.0) is None
    add(one, entry(1))
    assert numbers(one.next_batch(0.0)) == [0, 1]
    add(one, entry(2))
    assert numbers(one.next_batch(0.0)) == [2]


# -- memory


def test_an_idle_engine_wakes_when_a_wait_for_company_ends_or_a_deadline_comes_near():
    one = scheduler(cap=4, max_delay=0.1, curve={SHORT: {1: 0.01, 2: 0.01, 4: 0.01}})
    add(one, entry(0))
    assert one.wake_at(0.0) == pytest.approx(0.1)
    assert one.wake_at(0.2) == pytest.approx(0.1), (
        "a wait that ended between two looks is not forgotten"
    )
    add(one, entry(1, deadline=0.05))
    assert one.wake_at(0.0) == pytest.approx(0.04), (
        "in time for the run, not when the deadline has passed"
    )


def test_out_of_memory_halves_the_cap_of_that_bucket_alone():
    one = scheduler(cap=8)
    one.out_of_memory(SHORT, 8)
    assert (one.cap(SHORT), one.cap(LONG)) == (4, 8)
    for _ in range(5):
        one.out_of_memory(SHORT, one.cap(SHORT))
    assert one.cap(SHORT) == 1


def test_a_cap_that_tokens_bound_does_not_grow_beyond_what_was_measured():
    one = scheduler(cap=4, max_batch_tokens=2 * SHORT.length)
    for _ in range(3 * RESTORE_AFTER):
        add(one, entry(0), entry(1))
        batch = one.next_batch(0.0)
        assert batch is not None
        one.finished(batch, 0.1)
    one.limits = Limits()
    assert one.cap(SHORT) == 4


def test_a_lowered_cap_comes_back_slowly_and_no_further_than_it_was():
    one = scheduler(cap=4)
    one.out_of_memory(SHORT, 4)
    caps = []
    for _ in range(4 * RESTORE_AFTER):
        add(one, *(entry(number) for number in range(one.cap(SHORT))))
        batch = one.next_batch(0.0)
        assert batch is not None
        one.finished(batch, 0.1)
        caps.append(one.cap(SHORT))
    assert caps[RESTORE_AFTER - 2 : RESTORE_AFTER] == [2, 3]
    assert caps[-1] == 4


# -- whatever the order of calls


@given(st.lists(st.integers(1, 9), min_size=1, max_size=30), st.integers(1, 10))
def test_every_request_runs_exactly_once(rows: list[int], cap: int):
    one = scheduler(cap)
    for number, count in enumerate(rows):
        bucket, priority = (SHORT, LONG)[number % 2], (HIGH, NORMAL, LOW)[number % 3]
        add(one, entry(number, count, bucket, arrived=number, priority=priority))
    ran: list[int] = []
    while (batch := one.next_batch(99.0)) is not None:
        assert len(batch.entries) == 1 or batch.rows <= cap
        assert batch.rows == sum(each.rows for each in batch.entries)
        assert {each.bucket for each in batch.entries} == {batch.bucket}
        ran += numbers(batch)
        one.finished(batch, 99.0)
    assert sorted(ran) == list(range(len(rows)))
    assert one.queued_rows == 0


class SchedulerMachine(RuleBasedStateMachine):
    """Any order of calls leaves each request either waiting, run, cancelled or expired, and the counts true."""

    @initialize()
    def begin(self) -> None:
        self.scheduler = scheduler(5, {SHORT: {1: 0.1, 5: 0.2}}, max_queue_rows=30, instances=2)
        self.waiting: dict[int, Entry] = {}
        self.running: list[Batch] = []
        self.now, self.next = 0.0, 0

    @rule(
        rows=st.integers(1, 7),
        bucket=st.sampled_from((SHORT, LONG)),
        patience=st.floats(0.1, 5),
        priority=st.sampled_from((HIGH, NORMAL, LOW)),
    )
    def add(self, rows: int, bucket: Bucket, patience: float, priority: int) -> None:
        one = entry(self.next, rows, bucket, self.now, self.now + patience, priority)
        self.next += 1
        try:
            self.scheduler.add(one, self.now)
            self.waiting[one.key[1]] = one
        except QueueFull:
            assert sum(e.rows for e in self.waiting.values()) + rows > 30
        except DeadlineUnmeetable:
            own = self.scheduler.latency.seconds(bucket, rows, self.now)
            assert self.scheduler.drain_seconds(self.now) + own > patience

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, max(self.next, 1)))
        assert self.scheduler.cancel((0, number)) == (self.waiting.pop(number, None) is not None)

    @rule(seconds=st.floats(0, 2))
    def run(self, seconds: float) -> None:
        self.now += seconds
        for one in self.scheduler.expire(self.now):
            del self.waiting[one.key[1]]
        batch = self.scheduler.next_batch(self.now)
        if batch is None:
            assert not self.waiting or len(self.running) == 2
            return
        self.running.append(batch)
        for one in batch.entries:
            assert one.deadline >= self.now
            del self.waiting[one.key[1]]

    @rule(seconds=st.floats(0, 2), whole=st.booleans())
    def finish(self, seconds: float, whole: bool) -> None:
        self.now += seconds
        if self.running:
            batch = self.running.pop()
            if whole:
                self.scheduler.finished(batch, self.now)
            else:
                self.scheduler.failed(batch)
                self.scheduler.out_of_memory(batch.bucket, batch.rows)

    @invariant()
    def counts_are_true(self) -> None:
        if hasattr(self, "scheduler"):
            assert self.scheduler.queued_rows == sum(one.rows for one in self.waiting.values())
            assert sorted(self.scheduler.waiting()) == sorted(e.key for e in self.waiting.values())
            assert self.scheduler.drain_seconds(self.now) >= -1e-9


TestSchedulerMachine = SchedulerMachine.TestCase
TestSchedulerMachine.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
