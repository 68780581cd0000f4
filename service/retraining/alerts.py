"""What Alertmanager's webhook says, as triggers. Pure; it must not know what comes of them.

notification (version "4", or Grafana's near copy, which says "1") -> for each alert: a trigger, a note that it is over, or the reason why neither
"""

import hashlib
from collections.abc import Iterator
from typing import Literal, NamedTuple

import msgspec

from models.errors import Malformed
from models.job import Value
from service.retraining.triggers import Trigger

ACTION, MODEL = "action", "model"
RETRAIN = "retrain"
MOST = 100
"""Alerts of one notification that are looked at: each of a model's after the first comes to nothing anyway."""
LONGEST = 200
"""Characters of a label or a link that are kept as evidence."""
LONGEST_REASON = 500


class Alert(msgspec.Struct, rename="camel"):
    """One alert. `fingerprint` is that of its labels; with `startsAt` it is one firing of it."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    starts_at: str
    fingerprint: str
    annotations: dict[str, str] = {}
    generator_url: str = msgspec.field(default="", name="generatorURL")

    @property
    def name(self) -> str:
        """What the rule is called."""
        return self.labels.get("alertname", "")

    @property
    def key(self) -> str:
        """The same for every repetition, and for every Alertmanager of a cluster that sends it."""
        return hashlib.sha256(f"{self.fingerprint}{self.starts_at}".encode()).hexdigest()


class Notification(msgspec.Struct, rename="camel"):
    """A webhook's body, as far as it is read. `truncatedAlerts` is how many more there were than Alertmanager was to send."""

    version: str
    alerts: list[Alert]
    status: Literal["firing", "resolved"]
    receiver: str = ""
    truncated_alerts: int = 0
    org_id: int | None = None
    """Grafana's."""


class Wanted(NamedTuple):
    """A model is to be trained."""

    alert: Alert
    model: str
    trigger: Trigger


class Over(NamedTuple):
    """An alert of a model has ended by itself."""

    alert: Alert
    model: str
    reason: str


class Ignored(NamedTuple):
    """An alert that asks for nothing, and why."""

    alert: Alert
    reason: str


def read(body: bytes) -> Notification:
    """Malformed where it is no notification of a version that is read here."""
    try:
        notification = msgspec.json.decode(body, type=Notification)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"the body is no notification of Alertmanager: {error}") from error
    grafana = notification.version == "1" and notification.org_id is not None
    if notification.version != "4" and not grafana:
        raise Malformed(
            f"'version' is '{notification.version[:20]}': Alertmanager's '4' is read here, and Grafana's '1'"
        )
    return notification


def meant(notification: Notification) -> Iterator[Wanted | Over | Ignored]:
    """What each alert comes to; the same one twice is told once."""
    sender = "Grafana" if notification.version == "1" else "Alertmanager"
    alerts = {(alert.key, alert.status): alert for alert in notification.alerts}.values()
    for number, alert in enumerate(alerts):
        model = alert.labels.get(MODEL)
        action = alert.labels.get(ACTION, RETRAIN)
        if model is None:
            yield Ignored(alert, f"it has no label '{MODEL}'")
        elif action != RETRAIN:
            yield Ignored(alert, f"its label '{ACTION}' is '{action[:LONGEST]}', not '{RETRAIN}'")
        elif number >= MOST:
            yield Ignored(alert, f"{MOST} alerts of a notification are looked at")
        elif alert.status == "resolved":
            yield Over(alert, model, f"{alert.name or 'the alert'} is over")
        else:
            yield Wanted(alert, model, trigger(alert, sender))


def trigger(alert: Alert, sender: str) -> Trigger:
    """An alert as what asks for a training. Its labels are the evidence."""
    labels = {k: v for k, v in alert.labels.items() if k not in (ACTION, MODEL)}
    known = {
        "fingerprint": alert.fingerprint,
        "starts_at": alert.starts_at,
        "generator_url": alert.generator_url,
    }
    evidence: dict[str, Value] = {k: v[:LONGEST] for k, v in (labels | known).items() if v}
    reason = alert.annotations.get("summary") or alert.name or "an alert"
    return Trigger(
        kind="alert", reason=reason[:LONGEST_REASON], who=sender, key=alert.key, evidence=evidence
    )
