"""A request is counted by how it ended, and once as an invalid input where its data was at fault."""

import asyncio
from contextlib import suppress

import pytest

from models.errors import InputError, Malformed, NotFinite, TooLarge, Undecodable
from service.errors import ClientGone, NotFound, QueueFull, UnsupportedCoding
from service.outcomes import Counted
from service.tallies import FrontEndMetrics


def counted(error: BaseException | None) -> tuple[dict[str, int], dict[str, int]]:
    """The outcomes, and the reasons of invalid inputs, after one request that raised `error`."""
    metrics = FrontEndMetrics()
    with suppress(BaseException), Counted(metrics, "m", 1, "v1"):
        if error is not None:
            raise error
    tally = metrics.of("m", 1, "v1")
    assert tally.in_flight == 0
    return {name: n for name, n in tally.outcomes.items() if n}, metrics.intake()["m"][1]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Undecodable("x"), "undecodable"),
        (NotFinite("x"), "not_finite"),
        (Malformed("x"), "malformed"),
        (TooLarge("x"), "too_large"),
        (UnsupportedCoding("x"), "media_type"),
        (InputError("x"), "refused"),
    ],
)
def test_errors_of_the_data_are_counted_by_reason(error: Exception, reason: str):
    assert counted(error) == ({type(error).__name__: 1}, {reason: 1})


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "ok"),
        (QueueFull("x"), "QueueFull"),
        (NotFound("x"), "NotFound"),
        (ClientGone("x"), "cancelled"),
        (asyncio.CancelledError(), "cancelled"),
        (ValueError("x"), "defect"),
    ],
)
def test_other_ends_say_nothing_of_the_data(error: BaseException | None, outcome: str):
    assert counted(error) == ({outcome: 1}, {})
