"""A client keeps its time, or is late: told from what is awaited, and from nothing else."""

from itertools import pairwise

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


@given(st.lists(st.tuples(st.floats(0.5, 5), st.integers(0, 5000)), min_size=1, max_size=200))
def test_a_body_that_is_never_late_kept_its_pace_in_every_span(steps: list[tuple[float, int]]):
    """Looked at every few seconds: where nobody was late, no 70 s passed in which less came than in 30."""
    pace, at, had = Pace(LIMITS, 0), 0.0, 0
    seen = [(at, had)]
    pace.late("body", 1, had, 0, at)
    for seconds, size in steps:
        at, had = at + seconds, had + size
        if pace.late("body", 1, had, 0, at):
            waited = at - pace.since
            assert waited > LIMITS.body_timeout_s
            return
        seen.append((at, had))
    for (begun, before), _ in pairwise(seen):
        ended = next((one for one in seen if one[0] >= begun + 70), None)
        if ended is not None:
            assert ended[1] - before >= LIMITS.body_bytes_per_s * LIMITS.body_timeout_s


def test_an_answer_that_is_taken_slowly_is_taken():
    pace, unsent = Pace(LIMITS, 0), 1000
    for step in range(100):
        unsent -= 1
        assert not pace.late("reading", 1, 0, unsent, step * 29)
    assert pace.late("reading", 1, 0, unsent, 99 * 29 + 31)
