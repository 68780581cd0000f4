"""What Alertmanager says is read as it is documented, and what it repeats is the same trigger."""

import hashlib
import json
from typing import Any

import msgspec
import notifications
import pytest
from hypothesis import given
from hypothesis import strategies as st
from notifications import STARTED, alert, notification

from models.errors import Malformed
from service.retraining.alerts import MOST, Ignored, Over, Wanted, meant, read
from service.retraining.triggers import Trigger


def told(body: dict[str, Any]) -> list[Wanted | Over | Ignored]:
    return list(meant(read(json.dumps(body).encode())))


def test_a_firing_alert_of_a_model_asks_for_a_training():
    (one,) = told(notification())
    assert isinstance(one, Wanted)
    assert one.model == "toy-image"
    assert one.trigger == Trigger(
        kind="alert",
        reason="toy-image/3: its input signals have drifted",
        who="Alertmanager",
        key=hashlib.sha256(f"1a30ba71cca2921f{STARTED}".encode()).hexdigest(),
        evidence={
            "alertname": "ModelDrift",
            "version": "3",
            "kind": "input",
            "fingerprint": "1a30ba71cca2921f",
            "starts_at": STARTED,
            "generator_url": "http://prom:9090/graph?g0.expr=x",
        },
    )


def test_a_repetition_is_the_same_trigger_and_a_new_firing_another():
    first = told(notification())
    again = told(notification(notification_reason="repeat interval elapsed", receiver="other"))
    later = told(notification(alert() | {"startsAt": "2026-11-22T10:00:00Z"}))
    other = told(notification(alert() | {"fingerprint": "0000000000000000"}))
    keys = [one.trigger.key for (one,) in (first, again, later, other)]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3


def test_the_same_alert_twice_in_a_notification_is_one():
    assert len(told(notification(alert(), alert()))) == 1


def test_without_an_action_an_alert_of_a_model_counts_and_another_action_does_not():
    plain = alert()
    del plain["labels"]["action"]
    page = alert(action="page") | {"fingerprint": "2"}
    first, second = told(notification(plain, page))
    assert isinstance(first, Wanted)
    assert isinstance(second, Ignored)
    assert second.reason == "its label 'action' is 'page', not 'retrain'"


def test_an_alert_of_no_model_is_ignored_with_its_reason():
    (one,) = told(notification(alert(model=None)))
    assert isinstance(one, Ignored)
    assert one.reason == "it has no label 'model'"


def test_an_alert_that_is_over_asks_for_nothing():
    first, second = told(notification(alert(), alert(status="resolved")))
    assert isinstance(first, Wanted)
    assert isinstance(second, Over)
    assert (second.model, second.reason) == ("toy-image", "ModelDrift is over")
    assert first.alert.key == second.alert.key


def test_grafanas_copy_is_read_and_named():
    (one,) = told(notifications.grafana())
    assert isinstance(one, Wanted)
    assert one.trigger.who == "Grafana"


def test_an_older_alertmanager_is_read():
    body = notification()
    for key in ("truncatedAlerts", "routeLabels", "notification_reason"):
        del body[key]
    assert len(told(body)) == 1


def test_what_the_webhook_left_out_is_known():
    assert read(json.dumps(notification(truncatedAlerts=7)).encode()).truncated_alerts == 7


def test_only_so_many_alerts_of_a_notification_are_looked_at():
    alerts = [alert() | {"fingerprint": str(number)} for number in range(MOST + 5)]
    kinds = [type(one) for one in told(notification(*alerts))]
    assert kinds.count(Wanted) == MOST
    assert kinds.count(Ignored) == 5


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "no notification of Alertmanager"),
        (b"{", "no notification of Alertmanager"),
        (b"\xff", "no notification of Alertmanager"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{}", "missing required field `version`"),
        (b'{"version": 4}', r"Expected `str`, got `int` - at `\$\.version`"),
        (b"[" * 100_000, "no notification of Alertmanager"),
    ],
)
def test_what_is_no_notification_is_malformed(body: bytes, words: str):
    with pytest.raises(Malformed, match=words):
        read(body)


@pytest.mark.parametrize("version", ["1", "3", "5", "", "x" * 1000])
def test_another_version_is_malformed(version: str):
    with pytest.raises(Malformed, match="Alertmanager's '4' is read here") as caught:
        told(notification(version=version))
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("key", ["labels", "startsAt", "fingerprint", "status"])
def test_an_alert_without_what_it_must_have_is_malformed(key: str):
    broken = alert()
    del broken[key]
    with pytest.raises(Malformed, match=rf"`{key}` - at `\$\.alerts\[0\]"):
        told(notification(broken))


TEXT = st.text(max_size=600)


@given(st.dictionaries(TEXT, TEXT, max_size=6), TEXT, TEXT, TEXT)
def test_whatever_an_alert_holds_its_trigger_can_travel(
    labels: dict[str, str], summary: str, starts: str, fingerprint: str
):
    one = alert(alertname=summary) | {"startsAt": starts, "fingerprint": fingerprint}
    one["labels"] |= labels | {"model": "m", "action": "retrain"}
    one["annotations"] = {"summary": summary}
    (wanted,) = told(notification(one))
    assert isinstance(wanted, Wanted)
    raw = msgspec.json.encode(wanted.trigger)
    assert msgspec.json.decode(raw, type=Trigger) == wanted.trigger


@given(st.binary(max_size=200))
def test_noise_is_malformed(body: bytes):
    with pytest.raises(Malformed):
        read(body)
