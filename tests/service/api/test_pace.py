"""A client keeps its time, or is late: told from what is awaited, and from nothing else."""

import math

from hypothesis import given
from hypothesis import strategies as st

from service.api.pace import Pace
from service.edge import Limits

LIMITS = Limits(header_timeout_s=10, body_timeout_s=30, body_bytes_per_s=100)


def test_a_head_has_its_time_however_much_of_it_comes():
    pace = Pace(LIMITS, 0)
    assert not pace.late("headers", 1, 0, 0, 1)
    assert not pace.late("headers", 1, 0, 0, 11)
    assert pace.late("headers", 1, 0, 0, 11.1)


def test_every_request_has_a_time_of_its_own():
    pace = Pace(LIMITS, 0)
    for number in range(10):
        assert not pace.late("headers", number, 0, 0, number * 9)


def test_who_waits_for_an_answer_or_is_idle_is_never_late():
    pace = Pace(LIMITS, 0)
    assert not any(pace.late(waits, 1, 0, 0, 1e6) for waits in (None, "request", None))


PHASES = st.lists(st.tuples(st.integers(1, 30), st.sampled_from([0, 100, 300, 900, 50_000])))


@given(st.floats(0.5, 5), PHASES)
def test_a_body_that_was_never_late_kept_its_pace_in_every_span(
    every: float, phases: list[tuple[int, int]]
):
    """Looked at every few seconds: 70 s hold a whole span of 30, and what has to come in it."""
    pace, had, sizes = Pace(LIMITS, 0), 0, [0]
    assert not pace.late("body", 1, had, 0, 0)
    for step, size in enumerate((size for count, size in phases for _ in range(count)), 1):
        had += size
        if pace.late("body", 1, had, 0, step * every):
            break
        sizes.append(size)
    span = math.ceil(70 / every)
    least = LIMITS.body_bytes_per_s * LIMITS.body_timeout_s
    for begun in range(1, len(sizes) - span + 1):
        assert sum(sizes[begun : begun + span]) >= least


def test_an_answer_that_is_taken_slowly_is_taken():
    pace, unsent = Pace(LIMITS, 0), 1000
    for step in range(100):
        unsent -= 1
        assert not pace.late("reading", 1, 0, unsent, step * 29)
    assert pace.late("reading", 1, 0, unsent, 99 * 29 + 31)
