"""What the table expects of a batch, from what it has seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.latency import MOST_LEARNED, Bucket, LatencyTable, knee, label

SHORT, LONG = Bucket(16), Bucket(64)


def test_the_knee_is_the_smallest_size_with_nearly_the_best_throughput():
    assert knee({1: 1.0, 2: 1.2, 4: 2.0, 8: 3.9, 16: 8.0}) == 4
    assert knee({1: 1.0, 2: 2.0, 4: 4.1}) == 1
    assert knee({1: 3.0}) == 1


def test_nobody_is_judged_by_a_table_that_knows_nothing():
    assert LatencyTable().seconds(SHORT, 8, 0.0) == 0.0


def test_a_measured_size_is_expected_to_take_what_it_took():
    table = LatencyTable({SHORT: {1: 0.010, 4: 0.020}})
    assert table.seconds(SHORT, 4, 0.0) == pytest.approx(0.020)


def test_sizes_between_two_that_ran_lie_between_them_and_others_are_in_proportion():
    table = LatencyTable({SHORT: {2: 0.010, 4: 0.020}})
    assert table.seconds(SHORT, 3, 0.0) == pytest.approx(0.015)
    assert table.seconds(SHORT, 8, 0.0) == pytest.approx(0.040)
    assert table.seconds(SHORT, 1, 0.0) == pytest.approx(0.005)


def test_a_length_that_never_ran_is_judged_by_its_nearest_neighbour():
    table = LatencyTable({SHORT: {1: 0.010}, LONG: {1: 0.040}})
    assert table.seconds(Bucket(80), 1, 0.0) == pytest.approx(0.050)
    assert table.seconds(Bucket(80, ((3,),)), 1, 0.0) == 0.0


def test_live_runs_move_an_estimate():
    table = LatencyTable({SHORT: {1: 0.010}})
    for run in range(50):
        table.learn(SHORT, 1, 0.030, float(run) / 1000)
    assert table.seconds(SHORT, 1, 0.05) == pytest.approx(0.030, rel=0.01)


def test_a_slow_spell_is_forgotten_when_nothing_runs_that_could_correct_it():
    table = LatencyTable({SHORT: {1: 0.010}})
    for _ in range(50):
        table.learn(SHORT, 1, 10.0, 0.0)
    assert table.seconds(SHORT, 1, 0.0) > 9.0
    assert table.seconds(SHORT, 1, 200.0) == pytest.approx(0.010, rel=0.01)


def test_shapes_that_callers_choose_are_forgotten_the_longest_unused_first():
    table = LatencyTable({SHORT: {1: 0.010}})
    first = Bucket(1, ((0,),))
    for number in range(2 * MOST_LEARNED):
        table.learn(Bucket(1, ((number,),)), 1, 0.5, 0.0)
        table.learn(first, 1, 0.7, 0.0)
    assert len(table._cells) == len(table._sizes) == MOST_LEARNED + 1
    assert table.seconds(first, 1, 0.0) == pytest.approx(0.7)
    assert table.seconds(Bucket(1, ((1,),)), 1, 0.0) == 0.0
    assert table.seconds(SHORT, 1, 0.0) == pytest.approx(0.010)


def test_what_was_measured_is_never_forgotten():
    table = LatencyTable({SHORT: {1: 0.010}})
    for number in range(2 * MOST_LEARNED):
        table.learn(SHORT, 1 + number % 4, 0.010, 0.0)
        table.learn(Bucket(1, ((number,),)), 1, 0.5, 0.0)
    assert table.seconds(SHORT, 4, 0.0) == pytest.approx(0.010)


def test_a_bucket_is_named_by_its_length_or_its_shapes():
    assert label(LONG) == "64"
    assert label(Bucket(1, ((1, 28, 28), ()))) == "1x28x28, scalar"


@given(
    st.dictionaries(st.integers(1, 64), st.floats(1e-5, 10), min_size=1),
    st.integers(1, 64),
)
def test_an_estimate_never_leaves_what_was_seen_by_more_than_its_proportion(
    seen: dict[int, float], rows: int
):
    table = LatencyTable({SHORT: seen})
    expected = table.seconds(SHORT, rows, 0.0)
    low, high = min(seen.values()), max(seen.values())
    assert (
        min(low, low * rows / max(seen)) * 0.999
        <= expected
        <= max(high, high * rows / min(seen)) * 1.001
    )
