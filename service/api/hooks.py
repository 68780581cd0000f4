"""Programs that ask for a training by themselves: Alertmanager's webhook. It must not know what comes of a trigger.

202 with jobs where there are any, 200 with the reasons where there is none: everything that was understood is done with. Alertmanager sends
again what gets 5xx at once, and what gets 4xx when the group's interval is over.
"""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from litestar import Controller, Request, Response, post
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec

from models.errors import Conflict, InputError
from service.api.access import NOTIFY
from service.errors import NotFound, Refused
from service.link import Link
from service.retraining.alerts import Notification, Over, Wanted, meant, read

PATIENCE = 10.0
"""Seconds that control may take for each alert."""

AnyRequest = Request[Any, Any, Any]
Ask = Callable[[str, Any, float], Awaitable[Any]]


class Asked(msgspec.Struct):
    """An alert that has a job: one that it made now, or when it came before."""

    alert: str
    model: str
    job: str
    state: str


class Suppressed(msgspec.Struct):
    """An alert that has none, and why."""

    alert: str
    model: str
    reason: str


class Heard(msgspec.Struct):
    """What the alerts of a notification came to. `truncated`: how many Alertmanager left out."""

    jobs: list[Asked] = []
    suppressed: list[Suppressed] = []
    truncated: int = 0


class Hooks(Controller):
    """Webhooks of other programs."""

    path = "/v1/hooks"
    tags = ("retraining",)
    opt = NOTIFY

    @post(
        "/alertmanager",
        status_code=202,
        responses={200: ResponseSpec(Heard, description="Nothing was asked for, and why")},
        summary="Alertmanager's webhook",
    )
    async def alertmanager(
        self, request: AnyRequest, link: NamedDependency[Link]
    ) -> Response[Heard]:
        """Alerts with the label `model`, and `action` `retrain` where they have one, ask for a training: each time that one fires, once.

        Version 4 of Alertmanager's webhook, and Grafana's copy of it. 202 names jobs; 200 says why there is none: the policy, an unknown
        model, an alert that is over. The body is no such notification: 400.
        """
        heard = await answered(read(await request.body()), link.ask)
        return Response(heard, status_code=202 if heard.jobs else 200)


async def answered(notification: Notification, ask: Ask) -> Heard:
    """Ask control for what each alert wants. Unavailable where it cannot say: the same keys come again."""
    heard = Heard(truncated=notification.truncated_alerts)
    for one in meant(notification):
        name, model = one.alert.name, one.alert.labels.get("model", "")
        if isinstance(one, Over):
            await over(one, ask)
        told = await wanted(one, ask) if isinstance(one, Wanted) else one.reason
        if isinstance(told, str):
            heard.suppressed.append(Suppressed(name, model, told))
        else:
            heard.jobs.append(Asked(name, model, told["id"], told["state"]))
    return heard


async def wanted(one: Wanted, ask: Ask) -> dict[str, Any] | str:
    """The job, or the sentence why there is none."""
    body = {"model": one.model, "trigger": msgspec.to_builtins(one.trigger)}
    try:
        job: dict[str, Any] = await ask("retrain", body, PATIENCE)
    except (NotFound, Refused, InputError) as error:
        return str(error)
    return str(job["reason"]) if job["state"] == "suppressed" else job


async def over(one: Over, ask: Ask) -> None:
    """Have it written beside the alert's job, if there is one and it goes on; nothing depends on it."""
    body = {"model": one.model, "key": one.alert.key, "text": one.reason}
    with contextlib.suppress(NotFound, Refused, InputError, Conflict):
        await ask("retraining note", body, PATIENCE)
