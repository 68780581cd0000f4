"""A queue that bounds what it holds, by rows and by bytes."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from service.monitoring.ring import Ring


def test_what_comes_when_it_is_full_is_refused_whatever_its_size():
    ring: Ring[str] = Ring(10, 1000)
    assert ring.put("many rows", 10, 1)
    assert not ring.put("one row", 1, 1)
    assert ring.take(100) == ["many rows"]
    assert ring.put("many bytes", 1, 5000)
    assert ring.full
    assert not ring.put("none", 0, 0)


def test_at_most_so_many_rows_are_taken_but_one_item_in_any_case():
    ring: Ring[int] = Ring(1000, 1000)
    for rows in (5, 3, 9, 100):
        ring.put(rows, rows, rows)
    assert [ring.take(8), ring.take(8), ring.take(8), ring.take(8)] == [[5, 3], [9], [100], []]


@given(st.lists(st.one_of(st.integers(1, 30), st.just(None)), max_size=60))
def test_nothing_is_lost_or_reordered_and_the_bound_is_exceeded_by_the_last_item_alone(
    steps: list[int | None],
):
    ring: Ring[int] = Ring(50, 10_000)
    put: list[int] = []
    taken: list[int] = []
    for step in steps:
        if step is None:
            taken += ring.take(20)
        elif ring.put(step, step, step):
            put.append(step)
        waiting = put[len(taken) :]
        assert sum(waiting[:-1]) < 50
    while more := ring.take(20):
        taken += more
    assert taken == put
    assert not ring.full


def test_two_threads_lose_nothing():
    ring: Ring[int] = Ring(10**9, 10**9)
    seen: list[int] = []

    def take() -> None:
        while len(seen) < 20_000:
            seen.extend(ring.take(64))

    thread = threading.Thread(target=take)
    thread.start()
    for number in range(20_000):
        ring.put(number, 1, 1)
    thread.join(30)
    assert seen == list(range(20_000))
