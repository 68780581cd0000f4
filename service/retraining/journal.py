"""How a job changes: an event in the ledger first, then whoever waits for it is told. It must not know what any state means."""

import asyncio
import secrets
import time
from collections.abc import Sequence
from typing import Any

from service.retraining import jobs
from service.retraining.jobs import Event, Found, Job, Kind, State
from service.retraining.metrics import RetrainingMetrics
from service.retraining.place import Place
from service.retraining.triggers import Trigger

LOOK_SECONDS = 1.0
"""How often changes that other machines made are looked for while somebody waits."""


class Journal:
    """The jobs of a ledger."""

    def __init__(
        self,
        place: Place,
        metrics: RetrainingMetrics,
    ) -> None:
        self.jobs = place.ledger.jobs
        self.metrics = metrics
        self._clock, self._writer = place.clock, place.writer
        self._changed = asyncio.Event()

    async def begin(self, model: str, trigger: Trigger, state: State, **more: Any) -> Job:
        """A new job, or the one that the trigger's key has made. Conflict where the model has another that is active."""
        now = self._clock()
        found = jobs.began(
            jobs.new_id(now, secrets.randbits(74)), model, trigger, state, now, **more
        )
        job = await self._writer.run(self.jobs.add, found)
        if job.id == found.job.id:
            self._tell(found)
        return job

    async def move(
        self,
        job: Job,
        state: State,
        reason: str = "",
        *,
        trained: Sequence[bytes] | None = None,
        **more: Any,
    ) -> Job:
        """The job in its next state. Conflict where it has changed meanwhile."""
        found = jobs.moved(job, state, self._clock(), reason, **more)
        return await self._save(job, found, trained)

    async def note(self, job: Job, kind: Kind, text: str = "", **more: Any) -> Job:
        """The job after something that leaves its state as it is. Conflict where it has changed meanwhile."""
        return await self._save(job, jobs.noted(job, kind, self._clock(), text, **more), None)

    async def get(self, job: str) -> Job | None:
        """A job as it is now."""
        return await self._writer.run(self.jobs.get, job)

    async def events(self, job: str, after: int, seconds: float) -> list[Event]:
        """What happened to a job after an event; waits up to `seconds` for something."""
        until = time.monotonic() + seconds
        while True:
            changed = self._changed
            if found := await self._writer.run(self.jobs.events, job, after):
                return found
            left = until - time.monotonic()
            if left <= 0:
                return []
            try:
                async with asyncio.timeout(min(left, LOOK_SECONDS)):
                    await changed.wait()
            except TimeoutError:
                continue

    async def _save(self, before: Job, found: Found, trained: Sequence[bytes] | None) -> Job:
        job = await self._writer.run(self.jobs.save, before, found, trained)
        self._tell(found)
        return job

    def _tell(self, found: Found) -> None:
        self.metrics.count(found)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
