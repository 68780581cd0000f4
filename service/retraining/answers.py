"""What front ends ask control about retrainings, and its answers. It must not know HTTP, nor how anything is done."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from service.link import Handler
from service.questions import read
from service.retraining.jobs import Job
from service.retraining.loop import Loop
from service.retraining.triggers import Trigger

LONGEST_WAIT = 10.0


class Retrain(msgspec.Struct):
    """A trigger. `dry_run`: what would come of it, and nothing else."""

    model: str
    trigger: Trigger
    dry_run: bool = False


class Newest(msgspec.Struct):
    """Jobs, the newest first; those made before the job `before`."""

    model: str | None = None
    state: str | None = None
    before: str | None = None
    limit: int = 50


class Which(msgspec.Struct):
    """A job; who asks, and why, where that matters."""

    job: str
    who: str = ""
    why: str = ""


class Events(msgspec.Struct):
    """What happened to a job after an event; `seconds`: how long to wait for something."""

    job: str
    after: int = 0
    seconds: float = 0.0


class Logs(msgspec.Struct):
    """What a job's run has printed behind a byte."""

    job: str
    offset: int = 0


class Note(msgspec.Struct):
    """Something to write beside the job that a key made."""

    model: str
    key: str
    text: str


class OfModel(msgspec.Struct):
    """One model."""

    model: str


class Answers:
    """The handlers of a link."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop

    def handlers(self) -> Mapping[str, Handler]:
        """By the name of the question."""
        return {
            "retrain": self._retrain,
            "retrainings": self._newest,
            "retraining": self._job(lambda one: self._loop.get(one.job)),
            "retraining cancel": self._job(lambda one: self._loop.cancel(one.job, one.who)),
            "retraining approve": self._job(lambda one: self._loop.approve(one.job, one.who)),
            "retraining reject": self._job(
                lambda one: self._loop.reject(one.job, one.who, one.why)
            ),
            "retraining note": self._note,
            "retraining events": self._events,
            "retraining logs": self._logs,
            "retrainable": self._retrainable,
        }

    async def _retrain(self, body: Any) -> Any:
        order = read(body, Retrain)
        if order.dry_run:
            return msgspec.to_builtins(await self._loop.plan(order.model, order.trigger))
        return msgspec.to_builtins(await self._loop.trigger(order.model, order.trigger))

    async def _newest(self, body: Any) -> Any:
        order = read(body or {}, Newest)
        found = await self._loop.newest(order.model, order.state, order.before, order.limit)
        return msgspec.to_builtins(found)

    def _job(self, what: Callable[[Which], Awaitable[Job]]) -> Handler:
        async def answer(body: Any) -> Any:
            return msgspec.to_builtins(await what(read(body, Which)))

        return answer

    async def _note(self, body: Any) -> Any:
        order = read(body, Note)
        return msgspec.to_builtins(await self._loop.annotate(order.model, order.key, order.text))

    async def _events(self, body: Any) -> Any:
        order = read(body, Events)
        seconds = min(order.seconds, LONGEST_WAIT)
        job, found = await self._loop.events(order.job, order.after, seconds)
        return {"ended": job.ended, "number": job.number, "events": msgspec.to_builtins(found)}

    async def _logs(self, body: Any) -> Any:
        order = read(body, Logs)
        data, end = await self._loop.logs(order.job, order.offset)
        return {"text": data.decode(errors="replace"), "offset": end}

    async def _retrainable(self, body: Any) -> Any:
        return await self._loop.retrainable(read(body, OfModel).model)
