"""Drives jobs forward, each by what the ledger says of it. It must not know how a step is done.

active jobs -> lease -> cancelled? overdue? -> the step of its state -> the next look

What interrupts a step (a kill, a full disk, a registry that is away) leaves the job in its state, and the step is done again.
"""

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path

from models.errors import Conflict, EvergreenError, RegistryUnavailable
from service.errors import Unavailable
from service.retraining import traffic
from service.retraining.jobs import Job, State
from service.retraining.journal import Journal
from service.retraining.place import Place
from service.retraining.promotion import Promotion
from service.retraining.training import Training, jobs_of

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.5
LEASE_SECONDS = 30.0
"""A service that renews its lease no longer drives no longer: another one may."""
AGAIN_SECONDS = 5.0
"""A step that could not be done now is tried again after so long."""
PACES: Mapping[State, float] = {"running": 1.0, "watching": 2.0}
"""Seconds between two looks at what takes long: others are asked how it is."""
HOUR, DAY = 3600.0, 86_400.0

Step = Callable[[Job], Awaitable[Job | None]]


class Driver:
    """One service's. Of several that share a ledger, those drive a job that serve its model, one at a time."""

    def __init__(
        self,
        place: Place,
        journal: Journal,
        training: Training,
        promotion: Promotion,
    ) -> None:
        self._place, self._lifecycle, self._journal = place, place.lifecycle, journal
        self._ledger, self._writer = place.ledger, place.writer
        self._training, self._promotion = training, promotion
        self._name = f"{socket.gethostname()}:{place.settings.state.absolute()}"
        """The same after a restart, which goes on where it was."""
        self._not_before: dict[str, float] = {}
        self._leased: dict[str, float] = {}
        self._paced: dict[str, float] = {}
        self._trouble: dict[str, str] = {}
        self._driving: dict[str, asyncio.Task[None]] = {}
        self._steps: Mapping[State, Step] = {
            "queued": self._training.prepare,
            "submitted": self._training.submit,
            "running": self._training.follow,
            "evaluating": lambda one: self._promotion.judge(one, self._training.directory(one)),
            "promoting": self._promotion.promote,
            "watching": self._promotion.watch,
        }

    async def run(self) -> None:
        """For as long as this is not cancelled."""
        swept = False
        try:
            while True:
                try:
                    if not swept:
                        await self._sweep()
                        swept = True
                    await self.look()
                except EvergreenError as error:
                    log.info("retrainings cannot be looked after now: %s", error)
                    await asyncio.sleep(AGAIN_SECONDS)  # others want the ledger, too
                except Exception:
                    log.exception("retrainings cannot be looked after")
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            for task in self._driving.values():
                task.cancel()
            await self.settled()

    async def look(self) -> None:
        """Begin to bring every job of a model that is served here as far as it goes now. Steps may take minutes: nobody waits for another's."""
        for one in await self._writer.run(self._ledger.jobs.active):
            if await self._is_mine(one) and one.id not in self._driving:
                task = self._driving[one.id] = asyncio.create_task(self._drive(one))
                task.add_done_callback(partial(self._driven, one.id))

    def _driven(self, job: str, task: asyncio.Task[None]) -> None:
        del self._driving[job]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("job %s cannot be driven", job, exc_info=error)

    async def settled(self) -> None:
        """Wait until no step is being done."""
        await asyncio.gather(*self._driving.values(), return_exceptions=True)

    async def _is_mine(self, one: Job) -> bool:
        """Whether this service drives it, now that it has or renews the lease."""
        served, now = self._lifecycle.of(one.model), self._place.clock()
        if (served is None or served.champion is None) and not self._overdue(one):
            return False  # somebody else may serve it
        if self._leased.get(one.id, 0.0) - now > LEASE_SECONDS / 2:
            return True
        until = now + LEASE_SECONDS
        taken = await self._writer.run(self._ledger.jobs.lease, one.id, self._name, now, until)
        if taken:
            self._leased[one.id] = until
        return taken

    async def _drive(self, one: Job) -> None:
        """Step after step, until there is nothing to do now."""
        now, paced = time.monotonic(), self._paced.get(one.id, 0.0)
        if now < self._not_before.get(one.id, 0.0) or (now < paced and not self._ending(one)):
            return
        current: Job | None = one
        while current is not None and current.active:
            one, current = current, await self._step(current)
        if current is not None:
            for kept in (self._leased, self._not_before, self._paced, self._trouble):
                kept.pop(one.id, None)
            with contextlib.suppress(OSError):
                await asyncio.to_thread(traffic.tidy, self._training.directory(current))

    async def _step(self, one: Job) -> Job | None:
        try:
            ending = self._ending(one)
            if ending is not None and not await self._promotion.promoted(one):
                return await self._give_up(one, *ending)
            step = self._steps.get(one.state)
            after = None if step is None else await step(one)
            if after is None:
                self._paced[one.id] = time.monotonic() + PACES.get(one.state, 0.0)
            return after
        except Conflict as error:
            log.info("job %s: %s", one.id, error)
        except (Unavailable, RegistryUnavailable, OSError) as error:
            log.info("job %s is tried again: %s", one.id, error)
            self._trouble[one.id] = str(error)
            self._not_before[one.id] = time.monotonic() + AGAIN_SECONDS
        except EvergreenError as error:
            return await self._fail(one, str(error))
        except Exception as error:
            log.exception("job %s met a defect", one.id)
            return await self._fail(one, f"a defect, the log says more: {error!r}")
        return None

    def _ending(self, one: Job) -> tuple[State, str] | None:
        """How it is to end, and why, if it is."""
        if one.cancel is not None:
            return "cancelled", f"cancelled by {one.cancel}"
        if one.turned_down is not None and one.state == "awaiting_approval":
            return "rejected", one.turned_down
        if self._overdue(one):
            trouble = self._trouble.get(one.id) or one.reason
            hours = self._limit(one) / HOUR
            return "expired", f"it was {one.state} for more than {hours:g} h: {trouble}"
        return None

    def _limit(self, one: Job) -> float:
        """How long it may stay in its state, in seconds."""
        options = self._place.of(one.model).retraining
        return {
            "running": options.most_hours * HOUR,
            "awaiting_approval": options.approval_days * DAY,
            "promoting": options.trial_hours * HOUR,
            "watching": options.watch_h * HOUR + DAY,
        }.get(one.state, HOUR)

    def _overdue(self, one: Job) -> bool:
        return self._place.clock() - one.entered_at > self._limit(one)

    async def _fail(self, one: Job, why: str) -> Job | None:
        try:
            return await self._give_up(one, "failed", why)
        except (EvergreenError, OSError) as error:
            log.warning("job %s cannot be ended now: %s", one.id, error)
            self._not_before[one.id] = time.monotonic() + AGAIN_SECONDS
            return None

    async def _give_up(self, one: Job, state: State, why: str) -> Job:
        """End what runs for it, then the job: whatever interrupts this, it is done again."""
        if one.state in ("submitted", "running"):
            await self._training.stop(one)
        await self._promotion.withdraw(one)
        return await self._journal.move(one, state, why)

    async def _sweep(self) -> None:
        """What a service that was killed left of jobs that have ended."""
        place = jobs_of(self._place.settings)
        for directory in sorted(place.iterdir()) if place.is_dir() else ():
            job = await self._journal.get(directory.name)
            if job is not None and job.ended:
                await asyncio.to_thread(traffic.tidy, Path(directory))
