"""The queue of one bucket against a list that is sorted whenever it is asked."""

from hypothesis import given
from hypothesis import strategies as st

from service.engine.lanes import HIGH, LOW, NORMAL, PRIORITIES, Entry, Lane
from service.engine.latency import Bucket

BUCKET = Bucket(1)


def entry(number: int, deadline: float, priority: int = NORMAL, rows: int = 1) -> Entry:
    return Entry((0, number), BUCKET, rows, float(number), deadline, priority)


def drained(lane: Lane) -> list[int]:
    found = []
    while lane.rows:
        found.append(lane.next)
        lane.remove(lane.next)
    return [one.key[1] for one in found]


def test_the_earliest_deadline_is_next_and_among_equal_ones_who_came_first():
    lane = Lane(BUCKET)
    for number, deadline in enumerate((3.0, 1.0, 2.0, 1.0)):
        lane.add(entry(number, deadline), number)
    assert drained(lane) == [1, 3, 2, 0]


def test_a_priority_goes_before_any_deadline_but_the_lane_knows_the_earliest_deadline_of_all():
    lane = Lane(BUCKET)
    for number, (deadline, priority) in enumerate(((1.0, LOW), (2.0, NORMAL), (3.0, HIGH))):
        lane.add(entry(number, deadline, priority), number)
    assert (lane.priority, lane.deadline) == (HIGH, 1.0)
    assert [one.key[1] for one in lane.firsts()] == [2, 1, 0]
    assert drained(lane) == [2, 1, 0]


def test_rows_are_counted():
    lane = Lane(BUCKET)
    many, one = entry(0, 1, rows=5), entry(1, 1)
    lane.add(many, 0)
    lane.add(one, 1)
    assert lane.rows == 6
    lane.remove(many)
    assert (lane.rows, lane.next, lane.oldest) == (1, one, one)
    lane.remove(one)
    assert lane.rows == 0


Added = st.tuples(st.integers(0, 3), st.sampled_from(PRIORITIES), st.integers(1, 3))


@given(st.lists(st.one_of(Added, st.integers(0, 20)), max_size=40))
def test_any_order_of_coming_and_going_leaves_the_right_ones_in_front(steps: list):
    lane, there = Lane(BUCKET), []
    for number, step in enumerate(steps):
        if isinstance(step, int):
            if there:
                lane.remove(there.pop(step % len(there)))
        else:
            deadline, priority, rows = step
            one = entry(number, deadline, priority, rows)
            lane.add(one, number)
            there.append(one)
        assert lane.rows == sum(one.rows for one in there)
        if there:
            assert lane.next is min(there, key=lambda one: (one.rank, one.arrived))
            assert lane.oldest is there[0]
            assert lane.deadline == min(one.deadline for one in there)
            assert lane.priority == min(one.priority for one in there)
