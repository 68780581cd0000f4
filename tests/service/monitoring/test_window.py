"""Which windows are judged, what they add up to, and that machines which add the same blocks have the same ones to the last bit."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.ledger.records import Block
from service.monitoring.window import Window

SIZES = (100, 200, 500)


def block(number: int, ended_at: float, machine: str = "one", samples: int = 50) -> Block:
    counts = np.random.default_rng([number, len(machine)]).integers(0, 50, 20)
    sums = {"rows": 50.0, "confidence": 0.1 * number + 1e-9}
    data = counts.astype("<i4").tobytes()
    return Block("m", 1, "p", machine, number, ended_at - 1, ended_at, samples, data, sums)


def filled(count: int) -> Window:
    window = Window(SIZES)
    for number in range(1, count + 1):
        window.add(block(number, float(number)))
    return window


def test_fewer_samples_than_the_smallest_window_are_not_evaluated():
    window = filled(1)
    assert list(window.due()) == []
    assert window.newest(100) is None
    assert window.size(window.samples) is None


def test_a_window_is_due_whenever_half_of_it_is_new_and_grows_with_what_there_is():
    window, found = Window(SIZES), []
    for number in range(1, 31):
        window.add(block(number, float(number)))
        found += [(number * 50, counted.samples) for _, counted in window.due()]
    small = [(100, 100), (150, 100), (200, 200), (300, 200), (400, 200)]
    assert found == [*small, *((samples, 500) for samples in (500, 750, 1000, 1250, 1500))]


def places(window: Window) -> list[tuple[int, bytes]]:
    """Where windows are due, and their counts."""
    return [(block.number, counted.counts.tobytes()) for block, counted in window.due()]


def test_what_comes_at_once_is_evaluated_at_the_same_places_as_what_comes_one_by_one():
    one_by_one, at_once = Window(SIZES), Window(SIZES)
    found = []
    for number in range(1, 31):
        one_by_one.add(block(number, float(number)))
        found += places(one_by_one)
        at_once.add(block(number, float(number)))
    assert places(at_once) == found


@given(st.permutations(range(1, 31)), st.integers(0, 29))
def test_who_begins_again_after_any_evaluation_goes_on_at_the_same_places(
    times: list[int], restart: int
):
    one, other = Window(SIZES), Window(SIZES)
    last, went_on = None, []
    for number, time in enumerate(times, 1):  # clocks that go back and forth
        made = block(number, float(time))
        for window in (one, other):
            window.add(made)
        if number <= restart:
            for ended, counted in one.due():
                last = (ended.ended_at, counted.samples)
    if last is not None:
        other.resume(*last)
        went_on = places(one)
        assert places(other) == went_on


def test_the_newest_are_whole_blocks_and_their_counts_add_up():
    window = filled(10)
    counted = window.newest(100)
    assert counted is not None
    both = [np.frombuffer(block(n, float(n)).counts, "<i4") for n in (9, 10)]
    assert (counted.samples, counted.begun_at, counted.ended_at) == (100, 8.0, 10.0)
    assert counted.counts.tolist() == (both[0].astype(int) + both[1]).tolist()


def test_a_block_counts_once_however_often_it_is_read():
    window = filled(4)
    window.add(block(2, 2.0))
    assert window.samples == 200


def test_what_no_window_will_ask_for_is_forgotten():
    window = Window(SIZES)
    for number in range(1, 200):
        window.add(block(number, float(number)))
        list(window.due())
    assert 2 * SIZES[-1] <= window.samples <= 2 * SIZES[-1] + 50
    assert window.samples == sum(one.samples for one in window.blocks)


@given(st.permutations(range(48)))
def test_counts_are_the_same_bits_whichever_of_eight_machines_made_them_and_in_any_order(
    order: list[int],
):
    blocks = [block(n // 8 + 1, float(n // 3), f"machine {n % 8}") for n in range(48)]
    one, other = Window([2400]), Window([2400])
    for made in blocks:
        one.add(made)
    for index in order:
        other.add(blocks[index])
    here, there = one.newest(2400), other.newest(2400)
    assert here is not None
    assert there is not None
    assert here.counts.tobytes() == there.counts.tobytes()
    assert here.sums == there.sums
    assert here[3:] == there[3:]
