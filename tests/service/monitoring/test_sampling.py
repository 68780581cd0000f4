"""The share of observed requests keeps what observing costs within what is allowed, with a clock of the test's."""

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from service.monitoring.sampling import SECONDS, SMALLEST, Sampling, Shares

BUDGET, ROWS = 0.01, 100.0
STEP = 0.25


def run(sampling: Sampling, seconds: float, cpu: float, rows: float, now: float = 0.0) -> float:
    """Observing everything would take `cpu` and `rows` a second; what is spent follows the share. The time afterwards."""
    for _ in range(int(seconds / STEP)):
        now += STEP
        sampling.spend(now, sampling.share * cpu * STEP, int(sampling.share * rows * STEP))
    return now


def sampling() -> Sampling:
    return Sampling(BUDGET, ROWS, 0.0)


def test_everything_is_observed_while_that_is_cheap():
    one = sampling()
    run(one, 60, BUDGET * 0.9, ROWS * 0.9)
    assert one.share == 1.0


def test_a_burst_that_the_average_allows_is_observed_whole():
    one = sampling()
    now = run(one, 2, 4 * BUDGET, 4 * ROWS)
    run(one, 60, 0.0, 0.0, now)
    assert one.share == 1.0


def test_the_share_falls_at_once_to_what_the_budget_allows():
    one = sampling()
    run(one, 3, 16 * BUDGET, 0)
    assert one.share == 1 / 16


def test_too_many_rows_lower_it_as_well():
    one = sampling()
    run(one, 30, 0.0, 8 * ROWS)
    assert one.share == 1 / 8


def test_it_comes_back_by_doubling_when_there_is_room_and_never_faster_than_every_ten_seconds():
    one = sampling()
    now = run(one, 10, 16 * BUDGET, 0)
    low = one.share
    now = run(one, SECONDS + 1, 0.0, 0.0, now)
    assert one.share == 2 * low
    run(one, 200, 0.0, 0.0, now)
    assert one.share == 1.0


def test_it_does_not_swing_where_half_is_too_little_and_all_too_much():
    one = sampling()
    now = run(one, 30, 1.2 * BUDGET, 0)
    assert one.share == 0.5
    for _ in range(20):
        now = run(one, 5, 1.2 * BUDGET, 0, now)
        assert one.share == 0.5


def test_it_never_falls_below_the_smallest():
    one = sampling()
    run(one, 30, 1e6, 0)
    assert one.share == SMALLEST


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1e5), st.floats(1, 30)), max_size=6),
)
def test_whatever_the_load_the_average_of_its_last_part_keeps_to_the_budget(
    loads: list[tuple[float, float, float]],
):
    one, now = sampling(), 0.0
    for cpu, rows, seconds in [*loads, (1.0, 5e3, 60.0)]:
        now = run(one, seconds, cpu * BUDGET, rows, now)
    spent = [entry.cpu for entry in one._spent]
    assert sum(spent) <= BUDGET * SECONDS * 1.01
    assert sum(entry.rows for entry in one._spent) <= ROWS * SECONDS
    assert one.share == 2 ** round(math.log2(one.share))


def test_a_model_that_is_asked_a_lot_does_not_keep_another_from_being_looked_at():
    shares, now = Shares(BUDGET, ROWS, 0.0), 0.0
    for _ in range(int(60 / STEP)):
        now += STEP
        shares.spend(now, 0.0, {"busy": int(shares.of("busy") * 16 * ROWS * STEP), "quiet": 1})
    assert shares.of("busy") == shares.smallest == 1 / 16
    assert shares.of("quiet") == shares.of("unknown") == 1.0


def test_cpu_is_bounded_for_all_models_together():
    shares, now = Shares(BUDGET, ROWS, 0.0), 0.0
    for _ in range(int(60 / STEP)):
        now += STEP
        shares.spend(now, shares.of("one") * 3 * BUDGET * STEP, {"one": 1, "other": 0})
    assert shares.of("one") == shares.of("other") == shares.of("unknown") == 1 / 4
