"""When a trigger fires, and what is said when it does not."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.retraining.policy import HOUR, Decision, Facts, Policy, Reason, decide, wanted

NOW = 1_800_000_000.0
POLICY = Policy(min_labels=100, min_per_class=10)
GOOD = Facts(now=NOW, labels=300, trainable={"a": 60, "b": 60})


def with_(**changes: object) -> Facts:
    return msgspec.structs.replace(GOOD, **changes)


def broken(decision: Decision) -> list[str]:
    return [one.name for one in decision.conditions if not one.holds]


@pytest.mark.parametrize("trigger", ["person", "schedule", "drift", "alert"])
def test_fires_where_everything_holds(trigger: Reason):
    decision = decide(trigger, GOOD, POLICY)
    assert decision.fire
    assert not broken(decision)


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (with_(retrainable="torch is not installed"), "retrainable"),
        (with_(active="01J"), "one job"),
        (with_(trainable={"a": 60, "b": 39}), "labels"),
        (with_(trainable={"a": 100, "b": 9}), "labels per class"),
        (with_(invalid=0.01), "data quality"),
        (with_(begun=(NOW - 23 * HOUR,)), "cooldown"),
        (with_(unasked=(NOW - 1, NOW - 2, NOW - 6 * 24 * HOUR)), "rate"),
        (with_(rejected=2), "circuit breaker"),
    ],
)
def test_each_condition_alone_stops_a_trigger_and_is_named(facts: Facts, name: str):
    decision = decide("drift", facts, POLICY)
    assert broken(decision) == [name]
    assert not decision.fire
    assert next(one.text for one in decision.conditions if one.name == name) in decision.reason


@pytest.mark.parametrize(
    "facts",
    [
        with_(begun=(NOW - 1,)),
        with_(unasked=(NOW - 1, NOW - 2, NOW - 3)),
        with_(rejected=9),
    ],
)
def test_a_person_is_not_held_back_by_what_holds_machines_back(facts: Facts):
    assert decide("person", facts, POLICY).fire
    assert not decide("alert", facts, POLICY).fire


def test_a_person_cannot_train_on_a_broken_sensor_or_beside_another_job():
    assert not decide("person", with_(invalid=0.2), POLICY).fire
    assert not decide("person", with_(active="01J"), POLICY).fire


def test_asks_for_labels_where_they_are_all_that_is_missing():
    few = with_(trainable={"a": 1, "b": 0})
    assert decide("drift", few, POLICY).ask_for_labels
    assert not decide("drift", msgspec.structs.replace(few, rejected=2), POLICY).ask_for_labels
    assert not decide("drift", GOOD, POLICY).ask_for_labels


def test_a_class_without_a_label_counts_as_none():
    assert "'b'" in decide("drift", with_(trainable={"a": 200, "b": 0}), POLICY).reason


def test_labels_without_kept_rows_are_told_apart():
    decision = decide("person", with_(labels=5000, trainable={"a": 20, "b": 20}), POLICY)
    assert "40 labels with kept rows since the last training (of 5000 labels)" in decision.reason


def test_drift_alone_starts_nothing_by_itself():
    automatic = msgspec.structs.replace(POLICY, automatic=True)
    harmed = with_(drifting=True, harmful=True)
    assert wanted(with_(drifting=True), automatic) is None
    assert wanted(with_(harmful=True), automatic) is None
    assert wanted(harmed, POLICY) is None
    assert wanted(harmed, automatic) == "drift"


def test_the_schedule_is_due_when_its_days_have_passed():
    weekly = msgspec.structs.replace(POLICY, every_days=7)
    assert wanted(GOOD, weekly) == "schedule"
    assert wanted(with_(begun=(NOW - 6.9 * 24 * HOUR,)), weekly) is None
    assert wanted(with_(begun=(NOW - 7 * 24 * HOUR,)), weekly) == "schedule"


@given(
    st.builds(
        Facts,
        now=st.just(NOW),
        active=st.none() | st.just("x"),
        trainable=st.dictionaries(st.sampled_from("ab"), st.integers(0, 200)),
        labels=st.integers(0, 400),
        begun=st.lists(st.floats(0, NOW), max_size=3).map(tuple),
        unasked=st.lists(st.floats(0, NOW), max_size=5).map(tuple),
        rejected=st.integers(0, 4),
        invalid=st.floats(0, 1),
    ),
    st.sampled_from(["person", "schedule", "drift", "alert"]),
)
def test_it_fires_exactly_where_no_condition_is_broken(facts: Facts, trigger: Reason):
    decision = decide(trigger, facts, POLICY)
    assert decision.fire == (not broken(decision))
    assert not (decision.fire and decision.ask_for_labels)
