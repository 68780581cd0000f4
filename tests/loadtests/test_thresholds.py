"""A threshold that does not hold is named with both numbers; one that holds is not."""

import pytest
import recorded
from recorded import Second, ramp, spike, steady

from loadtests.recording import Stage
from loadtests.thresholds import Limits, overload, ramped, recovery, violations

FINE = Second()


def test_run_within_its_limits_has_none() -> None:
    limits = Limits(p50_ms=10, p99_ms=10, min_rps=200)
    assert violations(steady(), limits) == []


@pytest.mark.parametrize(
    ("second", "limits", "sentences"),
    [
        (
            FINE,
            Limits(p99_ms=9),
            [
                "cnn: p99 is 10 ms, at most 9 were asked for",
                "lstm: p99 is 10 ms, at most 9 were asked for",
            ],
        ),
        (
            Second(models=("cnn",)),
            Limits(p50_ms=9.5),
            ["cnn: p50 is 10 ms, at most 9.5 were asked for"],
        ),
        (
            FINE,
            Limits(min_rps=201),
            ["200.0 requests/s were answered, at least 201 were asked for"],
        ),
        (
            Second(99, failed=1),
            Limits(max_failure_share=0.005),
            ["8 of 800 requests failed (1.00%), at most 0.50% were asked for"],
        ),
        (
            Second(99, shed=1),
            Limits(max_shed_share=0.005),
            [
                "8 of 800 requests were refused with Retry-After (1.00%), at most 0.50% were asked for"
            ],
        ),
    ],
    ids=["p99", "p50", "rate", "failures", "refusals"],
)
def test_limit_that_does_not_hold_is_named(
    second: Second, limits: Limits, sentences: list[str]
) -> None:
    assert violations(steady(second), limits) == sentences


def test_any_failure_and_any_refusal_is_one_too_many_unless_said_otherwise() -> None:
    assert len(violations(steady(Second(failed=1, shed=1)), Limits())) == 2
    assert violations(steady(Second(failed=1, shed=1)), Limits(max_failure_share=1, max_shed_share=1)) == []  # fmt: skip


def test_refusals_are_no_answers() -> None:
    found = violations(
        steady(Second(answered=10, shed=1000)), Limits(min_rps=100, max_shed_share=1)
    )
    assert found == ["20.0 requests/s were answered, at least 100 were asked for"]


def test_run_without_requests_is_a_violation() -> None:
    assert violations(steady(Second(0)), Limits()) == ["no request was sent"]


def test_stage_without_answers_is_a_violation() -> None:
    parts = [(Stage("first tenth", 8, 4), FINE), (Stage("last tenth", 8, 4), Second(0))]
    found = violations(recorded.recording("soak", parts), Limits())
    assert found == ["no request was answered in stage 'last tenth'"]


def test_what_gets_worse_shows_in_the_last_tenth() -> None:
    parts = [
        (Stage("first tenth", 8, 4), FINE),
        (Stage("middle", 8, 32), FINE),
        (Stage("last tenth", 8, 4), Second(answered=1, latency_ms=50, models=("cnn",))),
    ]
    found = violations(recorded.recording("soak", parts), Limits(p50_ms=20))
    assert found == ["cnn: p50 in stage 'last tenth' is 50 ms, at most 20 were asked for"]


def test_burst_is_not_judged_by_latency_but_what_follows_is() -> None:
    slow = Second(latency_ms=100)
    assert violations(spike(FINE, slow, FINE, recovery=slow), Limits(p99_ms=50)) == []
    found = violations(spike(FINE, slow, Second(latency_ms=15)), Limits(p99_ms=12))
    assert found == [
        f"{model}: p99 in stage 'after' is 15 ms, at most 12 were asked for"
        for model in ("cnn", "lstm")
    ]


def test_recovery_is_timed_from_the_end_of_the_burst() -> None:
    found = recovery(spike(FINE, Second(latency_ms=100), FINE, recovery=Second(latency_ms=90)))
    assert found is not None
    assert found.seconds == pytest.approx(3)  # two seconds of recovery, and the first good one


def test_second_with_refusals_is_no_recovery() -> None:
    found = recovery(spike(FINE, FINE, FINE, recovery=Second(shed=1)))
    assert found is not None
    assert found.seconds == pytest.approx(3)


def test_burst_whose_effect_stays_is_a_violation() -> None:
    found = violations(spike(FINE, Second(latency_ms=100), Second(latency_ms=30)), Limits())
    assert found == [
        "no recovery: the median latency after the burst is 30 ms, before it was 10 ms, "
        "at most 2 times as much is recovered"
    ]


def test_other_shapes_have_neither_knee_nor_recovery() -> None:
    assert ramped(steady(), None) is None
    assert recovery(steady()) is None


def test_ramp_that_grows_is_not_overloaded() -> None:
    run = ramp(Second(100), Second(200), Second(400))
    assert overload(run.stages, None) is None
    found = ramped(run, None)
    assert found is not None
    assert (found.users, found.requests_per_s, found.stopped) == (24, 800, None)


def test_ramp_ends_after_two_doublings_without_growth() -> None:
    run = ramp(Second(100), Second(104), Second(103))
    assert overload(run.stages[:2], None) is None
    assert overload(run.stages, None) == (
        "206 requests/s at 24 users are less than 5% more than the 200 that fewer users reached"
    )


def test_ramp_ends_when_more_is_refused_than_may_be() -> None:
    assert overload(ramp(Second(100), Second(199, shed=1)).stages, None) is None
    run = ramp(Second(100), Second(190, failed=5, shed=5))
    assert overload(run.stages, None) == (
        "5.0% of the requests were refused or failed at 12 users, at most 1% may"
    )


def test_ramp_ends_when_p99_is_over_what_was_asked_for() -> None:
    run = ramp(Second(100), Second(200, latency_ms=60))
    assert overload(run.stages, 60) is None
    assert overload(run.stages, 50) == "p99 of cnn is 60 ms at 12 users, at most 50 were asked for"


def test_knee_is_the_fewest_users_that_reach_the_rate_within_the_limits() -> None:
    run = ramp(Second(100), Second(190), Second(200), Second(300, latency_ms=80))
    found = ramped(run, 50)
    assert found is not None
    assert (found.users, found.requests_per_s) == (12, 380)


def test_rate_asked_of_a_ramp_is_that_of_its_knee() -> None:
    run = ramp(Second(100), Second(200))
    assert violations(run, Limits(min_rps=400)) == []
    found = violations(run, Limits(min_rps=401))
    assert found == ["the ramp reached 400.0 requests/s, at least 401 were asked for"]


def test_ramp_whose_first_step_is_too_much_is_a_violation() -> None:
    found = violations(ramp(Second(100, latency_ms=80)), Limits(p99_ms=50))
    assert found == [
        "the service kept up with no step of the ramp: p99 of cnn is 80 ms at 6 users, at most 50 were asked for"
    ]
