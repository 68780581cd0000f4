"""Retrainings over HTTP: asked for, looked at, followed and ended. Control drives them, whichever front end is asked."""

from datetime import datetime
from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import ServerSentEvent

from models.errors import InputError
from models.job import Value
from service.api.access import CHANGE
from service.api.bodies import read_json
from service.api.lifecycle import peer
from service.api.repository import model_name
from service.api.streams import job_events
from service.errors import Refused
from service.link import Link
from service.retraining.jobs import Job, Plan
from service.retraining.triggers import Trigger
from service.routing import Router

PATIENCE = 30.0
RETRY_SECONDS = "2"
MOST = 500
LARGEST = 1 << 40
"""A log has no byte beyond."""
LONGEST_KEY = 200

AnyRequest = Request[Any, Any, Any]
Words = Annotated[str, msgspec.Meta(max_length=500)]


class Data(msgspec.Struct, forbid_unknown_fields=True, rename={"since": "from", "until": "to"}):
    """Rows met from then on, and before then (RFC 3339)."""

    since: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    until: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class Order(msgspec.Struct, forbid_unknown_fields=True):
    """`parameters`: hyper-parameters that are to be others than the recipe's. `dry_run`: only say what would happen, and why."""

    reason: Words = ""
    data: Data | None = None
    parameters: dict[str, Value] = {}
    dry_run: bool = False
    who: Words = ""


class Word(msgspec.Struct, forbid_unknown_fields=True):
    """What a person decides, and why."""

    reason: Words = ""
    who: Words = ""


class Printed(msgspec.Struct):
    """What a run has printed behind the byte that was asked for; `offset`: where that ends."""

    text: str
    offset: int


class Retrain(Controller):
    """A model, trained again."""

    path = "/v1/models/{name:str}"
    tags = ("retraining",)
    opt = CHANGE

    @post("/retrainings", status_code=202, summary="Train a model again")
    async def retrain(
        self,
        request: AnyRequest,
        name: FromPath[str],
        link: NamedDependency[Link],
    ) -> Response[Job | Plan]:
        """On its own data and the labels that came back; what comes out answers only after the gate.

        202 with the job and where to follow it. With `Idempotency-Key` the same request is the same job, whenever it comes again; another
        request with that key is 422. 409 names every condition of the policy that does not hold; `dry_run` tells them beforehand (200).
        """
        model = model_name(name)
        order: Order = read_json((await request.body()).strip() or b"{}", Order)
        key = request.headers.get("Idempotency-Key", "")
        if len(key) > LONGEST_KEY:
            raise InputError(
                f"Idempotency-Key has {len(key)} characters, {LONGEST_KEY} are the most"
            )
        trigger = triggered(order, key, order.who or peer(request))
        body = {
            "model": model,
            "trigger": msgspec.to_builtins(trigger),
            "dry_run": order.dry_run,
        }
        told = await link.ask("retrain", body, PATIENCE)
        if order.dry_run:
            return Response(msgspec.convert(told, Plan), status_code=200)
        job = msgspec.convert(told, Job)
        if job.state == "suppressed":
            raise Refused(f"no retraining: {job.reason}")
        headers = {"Location": f"/v1/retrainings/{job.id}", "Retry-After": RETRY_SECONDS}
        return Response(job, status_code=202, headers=headers | {"ETag": tag(job)})


class Retrainings(Controller):
    """What became of triggers, for as long as the ledger is there."""

    path = "/v1/retrainings"
    tags = ("retraining",)

    @get("/", summary="All retrainings, the newest first")
    async def newest(
        self,
        link: NamedDependency[Link],
        model: FromQuery[str | None] = None,
        in_state: Annotated[str | None, QueryParameter(name="state")] = None,
        before: FromQuery[str | None] = None,
        limit: FromQuery[int] = 50,
    ) -> list[Job]:
        """Suppressed triggers as well, with the reason. `before`: those older than that job, for the next page."""
        if not 1 <= limit <= MOST:
            raise InputError(f"'limit' is {limit}, it must lie between 1 and {MOST}")
        body = {"model": model, "state": in_state, "before": before, "limit": limit}
        return msgspec.convert(await link.ask("retrainings", body, PATIENCE), list[Job])

    @get("/{job:str}", summary="One retraining")
    async def job(
        self, request: AnyRequest, job: FromPath[str], link: NamedDependency[Link]
    ) -> Response[Job | None]:
        """Its state, what it learnt from, how far it is, and the gate's table. With `If-None-Match` 304 while it is as it was."""
        found = msgspec.convert(await link.ask("retraining", {"job": job}, PATIENCE), Job)
        headers = {"ETag": tag(found)}
        if request.headers.get("If-None-Match") == tag(found):
            return Response(None, status_code=304, headers=headers)
        if found.active:
            headers["Retry-After"] = RETRY_SECONDS
        return Response(found, headers=headers)

    @post("/{job:str}/cancel", status_code=202, opt=CHANGE, summary="End a retraining")
    async def cancel(
        self, request: AnyRequest, job: FromPath[str], link: NamedDependency[Link]
    ) -> Job:
        """Asked again, it is the same. 409 once it has ended, or its version answers: then roll the model back."""
        return await decided(request, link, "cancel", job)

    @post("/{job:str}/approve", status_code=202, opt=CHANGE, summary="Let a challenger go on")
    async def approve(
        self, request: AnyRequest, job: FromPath[str], link: NamedDependency[Link]
    ) -> Job:
        """One that has passed the gate and waits for a person. 409 where none does."""
        return await decided(request, link, "approve", job)

    @post("/{job:str}/reject", status_code=202, opt=CHANGE, summary="Turn a challenger down")
    async def reject(
        self, request: AnyRequest, job: FromPath[str], link: NamedDependency[Link]
    ) -> Job:
        """One that waits for a person. 409 where none does."""
        return await decided(request, link, "reject", job)

    @get("/{job:str}/events", summary="Follow a retraining")
    async def events(
        self,
        request: AnyRequest,
        job: FromPath[str],
        link: NamedDependency[Link],
        router: NamedDependency[Router],
    ) -> ServerSentEvent:
        """Server-Sent Events: `state`, `progress`, `note` and `request_labels`, numbered, until the job has ended.

        `Last-Event-ID` goes on behind that number. A comment comes every few seconds while nothing happens.
        """
        last = request.headers.get("Last-Event-ID", "0")
        if not (last.isdecimal() and len(last) < 16):
            raise InputError(f"Last-Event-ID is '{last[:20]}', it must be the number of an event")
        await link.ask("retraining", {"job": job}, PATIENCE)
        return ServerSentEvent(job_events(link, router, job, int(last)))

    @get("/{job:str}/logs", summary="What a run has printed")
    async def logs(
        self, job: FromPath[str], link: NamedDependency[Link], offset: FromQuery[int] = 0
    ) -> Printed:
        """Behind byte `offset`, which the answer tells anew."""
        if not 0 <= offset <= LARGEST:
            raise InputError(f"'offset' is {offset}, it must lie between 0 and {LARGEST:,}")
        told = await link.ask("retraining logs", {"job": job, "offset": offset}, PATIENCE)
        return msgspec.convert(told, Printed)


async def decided(request: AnyRequest, link: Link, what: str, job: str) -> Job:
    """A person's word about a job."""
    given = await request.body()
    word: Word = read_json(given, Word) if given.strip() else Word()
    body = {"job": job, "who": word.who or peer(request), "why": word.reason}
    return msgspec.convert(await link.ask(f"retraining {what}", body, PATIENCE), Job)


def triggered(order: Order, key: str, who: str) -> Trigger:
    """What a person asks for."""
    data = order.data or Data()
    if data.since is not None and data.until is not None and data.since >= data.until:
        raise InputError("data: 'from' must be before 'to'")
    return Trigger(
        kind="person",
        reason=order.reason,
        who=who,
        key=key,
        parameters=order.parameters,
        since=None if data.since is None else data.since.timestamp(),
        until=None if data.until is None else data.until.timestamp(),
    )


def tag(job: Job) -> str:
    """Changes with every event."""
    return f'"{job.number}"'
