"""Counts become rates and quantiles, and those a verdict on a canary."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import snapshots, traffic
from service.settings import ModelSettings
from service.tallies import FrontEndMetrics
from service.traffic import Counts, Window

OWN = ModelSettings(canary_min_requests=50)


def page(
    ok: int, failed: int, seconds: float = 0.004, outcome: str = "EngineError"
) -> snapshots.Snapshot:
    """What a front end tells after so many requests to version 2 of m."""
    metrics = FrontEndMetrics()
    for api in ("v1", "v2"):
        tally = metrics.of("m", 2, api)
        for _ in range(ok):
            tally.begin()
            tally.end("ok")
            tally.time(0.001, seconds)
        for _ in range(failed):
            tally.begin()
            tally.end(outcome)
    return snapshots.snapshot(metrics.registry)


def counts(ok: int, failed: int, seconds: float = 0.004) -> Counts:
    return traffic.counts(page(ok, failed, seconds), "m", 2)


def test_requests_of_both_apis_are_counted_and_other_versions_are_not():
    found = counts(10, 5)
    assert (found.requests, found.failed, found.error_rate) == (30, 10, pytest.approx(1 / 3))
    assert traffic.counts(page(10, 5), "m", 3) == Counts()


@pytest.mark.parametrize("outcome", sorted(traffic.BLAMELESS - {"ok"}))
def test_what_callers_do_wrong_is_not_the_versions_fault(outcome: str):
    assert traffic.counts(page(1, 9, outcome=outcome), "m", 2).failed == 0


def test_a_p99_lies_in_the_bucket_of_the_slowest_percent():
    assert 0.003 < (counts(100, 0, 0.004).p99 or 0) <= 0.005
    assert Counts().p99 is None
    assert counts(5, 0, 99.0).p99 == 10  # beyond the last bound, the last bound


@given(st.lists(st.floats(0, 20), min_size=1, max_size=40))
def test_a_p99_is_never_below_the_bucket_under_the_true_one(values: list[float]):
    metrics = FrontEndMetrics()
    for value in values:
        metrics.of("m", 2, "v1").time(0, value)
    found = traffic.counts(snapshots.snapshot(metrics.registry), "m", 2).p99
    true = sorted(values)[-1 - int(0.01 * len(values))]
    assert found is not None
    assert found <= 10
    assert found >= min(10, true) / 4 - 0.0005


def test_a_window_forgets_what_is_older():
    window = Window(10.0)
    for second in range(30):
        window.add(second, counts(second, 0), counts(0, second))
    canary, champion = window.latest()
    assert (canary.requests, champion.failed) == (20, 20)


@pytest.mark.parametrize(
    ("canary", "champion", "own", "says"),
    [
        (counts(20, 4), counts(50, 0), OWN, None),  # too few to tell
        (counts(30, 0), counts(50, 0), OWN, None),
        (counts(30, 5), counts(50, 0), OWN, "14.3% of 70 requests failed, 5.0% are allowed"),
        (counts(30, 5), counts(30, 10), OWN, None),  # the champion is no better off
        (counts(30, 0, 0.02), counts(50, 0, 0.002), OWN, "p99 is 24.9 ms over 60 requests"),
        (counts(30, 0, 0.02), counts(5, 0, 0.002), OWN, None),  # nothing to compare with
        (
            counts(30, 0, 0.02),
            counts(0, 0),
            ModelSettings(canary_max_p99_ms=10),
            "10.0 ms are allowed",
        ),
        (counts(30, 0, 0.02), counts(50, 0, 0.002), ModelSettings(canary_max_p99_ms=30), None),
    ],
)
def test_a_canary_is_judged_by_its_limits(
    canary: Counts, champion: Counts, own: ModelSettings, says: str | None
):
    found = traffic.verdict(canary, champion, own)
    assert found is None if says is None else says in (found or "")


def test_a_shadows_counts_are_read_back():
    metrics = FrontEndMetrics()
    tally = metrics.of_shadow("m", 2)
    for agrees in (True, True, False):
        tally.compare(agrees, 0.1)
        tally.time(0.01, 0.02)
        tally.end("ok")
    tally.end("dropped")
    tally.end("EngineError")
    found = traffic.shadow_counts(snapshots.snapshot(metrics.registry), "m", 2)
    assert (found.requests, found.dropped, found.failed, found.rows) == (4, 1, 1, 3)
    assert found.agreement == pytest.approx(2 / 3)
    assert found.confidence_difference == pytest.approx(0.1)
    assert (found.champion_s, found.shadow_s) == (pytest.approx(0.01), pytest.approx(0.02))
