"""Who answers, changed: a candidate shows what it can, the registry's log decides, one publication names it.

    candidate -> kept rows -> copies of real requests -> the registry's log -> one table -> the old one stays warm, or ends

It must not know HTTP, or that another change may want the same model: whoever calls sees to that.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from models.errors import Conflict
from models.registry import ModelState
from models.registry.aliases import CHAMPION, PREVIOUS
from service import comparison
from service.deployments import Deployment
from service.served import Served
from service.settings import Settings
from service.versions import Found, Publish, Versions

LINGER_SECONDS = 5.0
"""A version that lost its place stays in the table this long: who chose it by its number, or while it answered, must find it."""

Mirror = Callable[[Served, Deployment], Awaitable[None]]
"""Lets a candidate answer copies of real requests; Refused says what speaks against it."""


async def no_mirror(served: Served, candidate: Deployment) -> None:
    """Where there is no traffic to copy."""


class Order(NamedTuple):
    """What a promotion or a rollback is asked with. `force` leaves the comparison out."""

    who: str
    reason: str = ""
    if_champion: int | None = None
    force: bool = False


class Swaps:
    """Changes of one machine's champions. `publish` returns when no front end routes by what was before.

    `reap` is called when a version that nobody needs has stayed long enough.
    """

    def __init__(
        self,
        settings: Settings,
        versions: Versions,
        publish: Publish,
        mirror: Mirror,
        reap: Callable[[Served], None],
    ) -> None:
        self._settings = settings
        self._versions = versions
        self._publish = publish
        self._mirror = mirror
        self._reap = reap

    async def promote(self, served: Served, version: int, order: Order) -> None:
        """Conflict when the champion is another than expected, or somebody else was first. Refused says what speaks against `version`."""
        found = await self._versions.find(served.name, version)
        champion = champion_of(found.state)
        check_champion(found.state, order.if_champion)
        if served.champion == version == champion:
            return
        async with self._candidate(served, found) as candidate:
            why = await self._admit(served, candidate, order)
            if champion != version or found.state.unwritten:
                await asyncio.to_thread(
                    self._versions.registry.promote,
                    served.name,
                    version,
                    if_champion=champion,
                    who=order.who,
                    why=why,
                    force=order.force,
                )
        await self.switch(served, candidate)

    async def roll_back(self, served: Served, order: Order) -> None:
        """At once while the version before is warm, after a load otherwise. Conflict when there is none, or somebody was first."""
        look = await self._versions.look(served.name)
        check_champion(look.state, order.if_champion)
        to = look.state.aliases.get(PREVIOUS)
        if to is None:
            raise Conflict(f"'{served.name}' has nothing to go back to: none is its previous")
        found = await self._versions.find(served.name, to, look)
        async with self._candidate(served, found) as candidate:
            await asyncio.to_thread(
                self._versions.registry.rollback,
                served.name,
                if_champion=champion_of(found.state),
                who=order.who,
                why=order.reason,
            )
        await self.switch(served, candidate, back=True)

    async def follow(self, served: Served, champion: int) -> None:
        """Let the registry's champion answer here, too, if it still is."""
        found = await self._versions.find(served.name, champion)
        if served.seen == champion or champion_of(found.state) != champion:
            return
        if served.champion is None:
            return
        candidate = await self._versions.candidate(served, found)
        back = found.state.last is not None and found.state.last.kind == "rollback"
        await self.switch(served, candidate, back=back)

    async def switch(self, served: Served, candidate: Deployment, *, back: bool = False) -> None:
        """One publication that names the new champion. The old one stays in the table: as previous, or for those that chose it already."""
        await self._versions.take_place(served, candidate)
        previous = None if back else served.champion
        served.champion = served.seen = candidate.version
        served.promoted(candidate.version)
        await self._publish()
        warm = {previous: self._settings.keep_previous_s} if previous is not None else {}
        self.retire_unneeded(served, warm)

    def retire_unneeded(self, served: Served, warm: dict[int, float] | None = None) -> None:
        """Say until when versions without a task stay: `warm` ones as given, others only for who chose them already."""
        now = time.monotonic()
        for number, one in served.running.items():
            if number in served.needed():
                served.keep.pop(number, None)
            elif warm and number in warm and one.ready:
                served.keep[number] = now + max(LINGER_SECONDS, warm[number])
            elif warm is not None or number not in served.keep:
                soon = now + LINGER_SECONDS
                served.keep[number] = min(served.keep.get(number, soon), soon)
        served.reap_with(lambda: self._reap(served))

    @asynccontextmanager
    async def _candidate(self, served: Served, found: Found) -> AsyncIterator[Deployment]:
        """The version with an engine that answers, alive; where the block raises, it leaves nothing behind but the reason."""
        candidate = await self._versions.candidate(served, found)
        try:
            self._versions.check_alive(served, candidate)
            yield candidate
        except BaseException as error:
            self._versions.give_up(served, candidate, error)
            raise

    async def _admit(self, served: Served, candidate: Deployment, order: Order) -> str:
        """Kept rows, then copies of real requests. Why it may answer, for the history; Refused says what speaks against it."""
        why = "without a comparison"
        if not order.force:
            why = await comparison.admit(candidate, served.deployment)
            served.failures.pop(candidate.version, None)
            await self._mirror(served, candidate)
        self._versions.check_alive(served, candidate)
        return f"{order.reason} ({why})" if order.reason else why


def champion_of(state: ModelState) -> int | None:
    """Who answers by the registry's word."""
    return state.aliases.get(CHAMPION)


def check_champion(state: ModelState, expected: int | None) -> None:
    """Conflict where the champion is another: before anything is loaded for nothing."""
    if expected is not None and expected != champion_of(state):
        raise Conflict(
            f"the champion of '{state.name}' is version {champion_of(state)}, not {expected}: look again and decide anew"
        )
