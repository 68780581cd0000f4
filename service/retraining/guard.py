"""Promotions that people made: watched for a while, and taken back when labels show that they hurt. It must not know jobs.

the registry's last promotion + the labels of what it brought -> worse than the version before promised, or was -> rollback
"""

import asyncio
import logging
from datetime import datetime
from typing import NamedTuple

from models.errors import Conflict
from models.registry import Change
from models.registry.aliases import CHAMPION, PREVIOUS
from service.monitoring.qualities import Qualities
from service.retraining.metrics import RetrainingMetrics
from service.retraining.place import Place
from service.retraining.promotion import WHO
from service.retraining.watching import Watching
from service.served import Served

log = logging.getLogger(__name__)

GUARD = "guard"
"""Who took a promotion back, in the model's history."""
ENOUGH = 50
"""Labels that say more of a version than what it promised."""
HISTORY = 20


class Watched(NamedTuple):
    """A promotion: of which version, when, and the error that the one before had, at worst. None where nobody knows it."""

    version: int
    since: float
    promised: float | None


class Guard:
    """One service's."""

    def __init__(
        self,
        place: Place,
        qualities: Qualities,
        watching: Watching,
        metrics: RetrainingMetrics,
    ) -> None:
        self._place, self._lifecycle, self._qualities = place, place.lifecycle, qualities
        self._watching, self._metrics = watching, metrics
        self._seen: dict[str, tuple[int | None, Watched | None]] = {}

    async def look(self, served: Served) -> bool:
        """Look at one model once; whether its champion was taken back."""
        own = self._place.of(served.name)
        if not own.retraining.guard or served.champion is None:
            return False
        watched = await self._watched(served)
        if watched is None:
            return False
        if self._place.clock() - watched.since > own.retraining.watch_h * 3600:
            self._seen[served.name] = (served.champion, None)
            self._watching.forget(served.name)
            return False
        why = await self._watching.against(served, watched.since, watched.promised, own)
        return why is not None and await self._take_back(served, watched.version, why)

    async def _watched(self, served: Served) -> Watched | None:
        """The promotion that made the champion, if a person made it; looked up whenever another answers."""
        champion, known = self._seen.get(served.name, (None, None))
        if champion != served.champion:
            known = await self._found(served)
            self._seen[served.name] = (served.champion, known)
        return known

    async def _found(self, served: Served) -> Watched | None:
        change = await asyncio.to_thread(self._last, served.name)
        if change is None or change.before is None:
            return None
        if change.after is None or change.after != served.champion:
            return None
        if change.kind != "promote" or change.who.startswith(WHO):
            return None
        since = datetime.fromisoformat(change.when).timestamp()
        return Watched(change.after, since, await self._promised(served.name, change.before))

    async def _promised(self, model: str, before: int) -> float | None:
        """The error of the version before, at worst: by its newest labels, or as it was made."""
        newest = (await self._qualities.told(model, before, None)).newest
        if newest is not None and newest.n >= ENOUGH:
            return 1 - newest.low
        return (await asyncio.to_thread(self._qualities.terms, model, before)).promised

    def _last(self, model: str) -> Change | None:
        """In a thread: the last change of who answers."""
        look = self._lifecycle.registry.find(model)
        if look is None or PREVIOUS not in look.state.aliases:
            return None
        changes = [one for one in look.history(HISTORY) if one.alias == CHAMPION]
        return max(changes, key=lambda one: one.number, default=None)

    async def _take_back(self, served: Served, version: int, why: str) -> bool:
        try:
            await self._lifecycle.rollback(served.name, who=GUARD, reason=why, if_champion=version)
        except Conflict as error:
            log.info("version %s of '%s' is not taken back: %s", version, served.name, error)
            self._seen.pop(served.name, None)
            return False
        log.warning("a promotion was taken back", extra={"model": served.name, "reason": why})
        self._watching.forget(served.name)
        self._metrics.rollbacks.labels(served.name, "person").inc()
        return True
