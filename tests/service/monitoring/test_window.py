"""The newest samples are the same on every machine, and to the last bit, in whatever order their blocks come."""

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
        found += [(number * 50, size) for size, _ in window.due()]
    small = [(100, 100), (150, 100), (200, 200), (300, 200), (400, 200)]
    assert found == [*small, *((samples, 500) for samples in (500, 750, 1000, 1250, 1500))]


def test_what_comes_at_once_is_evaluated_at_the_same_places_as_what_comes_one_by_one():
    one_by_one, at_once = Window(SIZES), Window(SIZES)
    found = []
    for number in range(1, 31):
        one_by_one.add(block(number, float(number)))
        found += list(one_by_one.due())
        at_once.add(block(number, float(number)))
    assert list(at_once.due()) == found


def test_blocks_wait_until_everybody_can_have_read_them():
    window = filled(10)
    assert [size for size, _ in window.due(settled=2.5)] == [100]
    assert [place[0] for _, place in window.due(settled=7.0)] == [3.0, 4.0, 6.0]


def test_the_newest_are_whole_blocks_and_their_counts_add_up():
    window = filled(10)
    counted = window.newest(100)
    assert counted is not None
    both = [np.frombuffer(block(n, float(n)).counts, "<i4") for n in (9, 10)]
    assert (counted.samples, counted.begun_at, counted.ended_at) == (100, 8.0, 10.0)
    assert counted.counts.tolist() == (both[0].astype(int) + both[1]).tolist()


def test_a_block_counts_once_however_often_it_is_read():
    window = filled(4)
    assert not window.add(block(2, 2.0))
    assert window.samples == 200


def test_what_no_window_will_ask_for_is_forgotten_and_not_taken_in_again():
    window = Window(SIZES)
    for number in range(1, 200):
        window.add(block(number, float(number)))
        list(window.due())
    assert window.samples <= 2 * SIZES[-1] + 50
    assert not window.add(block(1, 1.0))


@given(st.permutations(range(48)))
def test_eight_machines_come_to_the_same_bits_in_any_order(order: list[int]):
    blocks = [block(n // 8 + 1, float(n // 3), f"machine {n % 8}") for n in range(48)]
    one, other = Window(SIZES), Window(SIZES)
    for made in blocks:
        one.add(made)
    for index in order:
        other.add(blocks[index])
    assert list(one.due()) == list(other.due())
    for size in SIZES:
        here, there = one.newest(size), other.newest(size)
        assert here is not None
        assert there is not None
        assert here.counts.tobytes() == there.counts.tobytes()
        assert here.sums == there.sums
        assert here[3:] == there[3:]
