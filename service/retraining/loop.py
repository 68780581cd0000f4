"""The closed loop of one service: triggers come in, jobs are driven, promotions are watched. It must not know HTTP, or how any of it is done.

person, alert -> trigger -> job        drift with harm, schedule -> looked for now and again -> trigger -> job
active jobs -> Driver                  promotions of people -> Guard
"""

import asyncio
import logging
import time
from typing import NamedTuple

from models.errors import EvergreenError
from service.errors import NotFound
from service.retraining.deciding import Deciding
from service.retraining.driver import Driver
from service.retraining.forgetting import Forgetting
from service.retraining.guard import Guard
from service.retraining.jobs import Event, Job, Plan, check_awaiting, check_cancel
from service.retraining.journal import Journal
from service.retraining.place import Place
from service.retraining.training import Training
from service.retraining.triggers import Trigger
from service.served import Served

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""How often promotions that people made are looked at."""
EVERY_SECONDS = 5.0
"""How often it is looked whether drift or the schedule is a trigger."""
FORGET_SECONDS = 600.0
"""How often jobs are forgotten that ended long ago."""


class Parts(NamedTuple):
    """What the loop is made of; `service.retraining.wiring` puts it together."""

    journal: Journal
    training: Training
    driver: Driver
    deciding: Deciding
    guard: Guard
    forgetting: Forgetting


class Loop:
    """What front ends ask, and what goes on by itself."""

    def __init__(self, place: Place, parts: Parts) -> None:
        self._place, self._parts = place, parts
        self._journal = parts.journal
        self._tasks: list[asyncio.Task[None]] = []
        self._not_before: dict[str, float] = {}

    def start(self) -> None:
        """Bring jobs forward, and look for triggers that nobody pulls."""
        self._tasks = [
            asyncio.create_task(work)
            for work in (self._parts.driver.run(), self._watch(), self._forget())
        ]

    async def close(self) -> None:
        """Leave everything as it is: whoever starts next goes on with it."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _watch(self) -> None:
        while True:
            for served in self._place.lifecycle:
                try:
                    await self._look(served)
                except EvergreenError as error:
                    log.info("'%s' cannot be looked at now: %s", served.name, error)
                except Exception:
                    log.exception("'%s' cannot be looked at", served.name)
            await asyncio.sleep(LOOK_SECONDS)

    async def _forget(self) -> None:
        while True:
            for served in self._place.lifecycle:
                try:
                    if served.champion is not None:
                        await self._parts.forgetting.look(served.name)
                except EvergreenError as error:
                    log.info("jobs of '%s' are kept for now: %s", served.name, error)
                except Exception:
                    log.exception("jobs of '%s' cannot be forgotten", served.name)
            await asyncio.sleep(FORGET_SECONDS)

    async def trigger(self, model: str, trigger: Trigger) -> Job:
        """The job that comes of it: a new one, the one that its key made, or one that was suppressed."""
        return await self._parts.deciding.trigger(model, trigger)

    async def plan(self, model: str, trigger: Trigger) -> Plan:
        """What would come of it."""
        return await self._parts.deciding.plan(model, trigger)

    async def get(self, job: str) -> Job:
        """NotFound where there is none."""
        found = await self._journal.get(job)
        if found is None:
            raise NotFound(f"there is no retraining '{job[:80]}'")
        return found

    async def newest(
        self, model: str | None, state: str | None, before: str | None, limit: int
    ) -> list[Job]:
        """Jobs, the newest first."""
        jobs = self._place.ledger.jobs
        return await self._place.writer.run(jobs.newest, model, state, before, limit)

    async def events(self, job: str, after: int, seconds: float) -> tuple[Job, list[Event]]:
        """What happened to a job after an event, waiting a little for it, and the job after that."""
        await self.get(job)
        found = await self._journal.events(job, after, seconds)
        return await self.get(job), found

    async def logs(self, job: str, offset: int) -> tuple[bytes, int]:
        """What its run has printed."""
        return await self._parts.training.logs(await self.get(job), offset)

    async def cancel(self, job: str, who: str) -> Job:
        """Have it ended: whoever drives it does. Refused where it has ended, or been promoted."""
        found = await self.get(job)
        check_cancel(found)
        if found.cancel is not None:
            return found
        return await self._journal.note(found, "note", f"{who} cancels it", cancel=who)

    async def approve(self, job: str, who: str) -> Job:
        """Let a challenger that passed the gate go on. Refused where nobody waits for that."""
        found = await self.get(job)
        check_awaiting(found)
        return await self._journal.move(found, "promoting", f"approved by {who}", approved=who)

    async def reject(self, job: str, who: str, why: str) -> Job:
        """Have it ended for good: whoever drives it does. Refused where nobody waits for a word."""
        found = await self.get(job)
        check_awaiting(found)
        if found.turned_down is not None:
            return found
        told = f"rejected by {who}" + (f": {why}" if why else "")
        return await self._journal.note(found, "note", told, turned_down=told)

    async def annotate(self, model: str, key: str, text: str) -> Job | None:
        """Write something beside the job that a key made. None where it made none, or nothing happens to that any more."""
        found = await self._place.writer.run(self._place.ledger.jobs.keyed, model, key)
        if found is None or found.ended:
            return None
        return await self._journal.note(found, "note", text)

    async def retrainable(self, model: str) -> dict[str, object]:
        """Whether a model can be trained here, why not, and the job that is under way."""
        return await self._parts.deciding.retrainable(model)

    async def _look(self, served: Served) -> None:
        if served.champion is None:
            return
        await self._parts.guard.look(served)
        if time.monotonic() < self._not_before.get(served.name, 0.0):
            return
        self._not_before[served.name] = time.monotonic() + EVERY_SECONDS
        trigger = await self._parts.deciding.by_itself(served.name)
        if trigger is not None:
            await self.trigger(served.name, trigger)
