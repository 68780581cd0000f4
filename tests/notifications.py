"""Webhooks of Alertmanager and Grafana for tests, with every key that they send."""

from typing import Any

STARTED = "2026-11-21T10:00:00.123456789Z"
Body = dict[str, Any]


def alert(model: str | None = "toy-image", status: str = "firing", **labels: str) -> Body:
    """An alert as Alertmanager sends it."""
    given = {
        "alertname": "ModelDrift",
        "version": "3",
        "kind": "input",
        "action": "retrain",
    } | labels
    if model is not None:
        given["model"] = model
    return {
        "status": status,
        "labels": given,
        "annotations": {"summary": "toy-image/3: its input signals have drifted"},
        "startsAt": STARTED,
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prom:9090/graph?g0.expr=x",
        "fingerprint": "1a30ba71cca2921f",
    }


def notification(*alerts: Body, **more: Any) -> Body:
    """What Alertmanager 0.34 posts."""
    return {
        "version": "4",
        "groupKey": '{}/{action="retrain"}:{alertname="ModelDrift", model="toy-image"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "retrain",
        "groupLabels": {"alertname": "ModelDrift", "model": "toy-image"},
        "commonLabels": {"alertname": "ModelDrift", "model": "toy-image"},
        "commonAnnotations": {"summary": "toy-image/3: its input signals have drifted"},
        "routeLabels": {},
        "externalURL": "http://am:9093",
        "notification_reason": "first notification",
        "alerts": list(alerts) or [alert()],
    } | more


def grafana(*alerts: Body) -> Body:
    """What Grafana posts in its place."""
    own = {"silenceURL": "http://g/s", "dashboardURL": "", "panelURL": "", "values": None}
    told = [one | own | {"valueString": "[ value=1 ]"} for one in alerts or [alert()]]
    body = {key: value for key, value in notification(*told).items() if key != "routeLabels"}
    words = {"title": "[FIRING:1]", "state": "alerting", "message": "**Firing**"}
    return body | {"version": "1", "orgId": 1} | words
