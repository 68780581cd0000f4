"""Jobs that ended long ago are forgotten, with what their directories hold. It must not know how a ledger is kept.

older than the ledger keeps anything -> in the lineage of who answers? still counted by the policy? -> kept
                                     -> else forgotten: the directory, then the job with its events
"""

import asyncio
import shutil
from collections.abc import Sequence

from models.registry import Registry
from service.ledger.schema import first_id
from service.retraining.jobs import Job
from service.retraining.place import Place
from service.retraining.policy import WEEK
from service.retraining.training import WON, jobs_of

PART = 200


class Forgetting:
    """One service's: of the models that it serves, whose registry it knows."""

    def __init__(self, place: Place) -> None:
        self._place, self._jobs = place, place.ledger.jobs

    async def look(self, model: str) -> int:
        """Forget what may be forgotten of a model's jobs; how many those were. RegistryUnavailable, Unavailable: some other time."""
        age = max(self._place.ledger.limits.age_s, WEEK)  # the policy counts the last week
        before, after, gone = first_id(self._place.clock() - age), "", 0
        run = self._place.writer.run
        counted = still_counted(await run(self._jobs.begun, model))
        named = await asyncio.to_thread(lineage, self._place.lifecycle.registry, model)
        while part := await run(self._jobs.old, model, after, before, PART):
            after = part[-1].id
            over = [job.id for job in part if job.id not in counted and job.version not in named]
            if over:
                await asyncio.to_thread(self._delete, over)
                gone += await run(self._jobs.forget, over)
        return gone

    def _delete(self, jobs: Sequence[str]) -> None:
        """In a thread: first, so that whatever interrupts this, the ledger still knows what is left."""
        for job in jobs:
            shutil.rmtree(jobs_of(self._place.settings) / job, ignore_errors=True)


def lineage(registry: Registry, model: str) -> set[int]:
    """Versions that an alias names, and those that they come from, parent by parent."""
    state = registry.state(model)
    named: set[int] = set()
    for version in state.aliases.values():
        one: int | None = version
        while one is not None and one in state.versions and one not in named:
            named.add(one)
            manifest = registry.manifest(model, one)
            record = None if manifest is None else manifest.training
            one = None if record is None else record.parent
    return named


def still_counted(begun: Sequence[Job]) -> set[str]:
    """Jobs that the policy looks at however old they are: the last one, the last that won, and those that were turned down since."""
    found = {job.id for job in begun[:1]}
    for job in begun:
        found |= {job.id} if job.state in WON or job.state in ("rejected", "rolled_back") else set()
        if job.state in WON:
            break
    return found
