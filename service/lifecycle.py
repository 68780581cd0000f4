"""Which versions this machine serves, and how that changes under load. It must not know HTTP.

    load      a version beside those that answer       unload    a version, or a model
    promote   load -> kept rows -> copies of real requests -> the registry's log -> one publication -> the old one stays warm
    rollback  the registry's log -> one publication    follow    what other processes wrote into the registry

The registry says who is champion; this machine follows. Changes of one model run one after another, those of different models at the same
time; equal loads and unloads that were asked for at the same time are one.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from models.errors import Conflict, EvergreenError, InputError
from models.registry import ModelState
from models.registry.aliases import CHAMPION, PREVIOUS
from service import comparison
from service.deployments import Deployment, Deployments, options_of
from service.errors import Refused
from service.routing import Share, Split
from service.served import Served
from service.settings import Settings
from service.versions import Publish, Versions

log = logging.getLogger(__name__)

LINGER_SECONDS = 5.0
"""A version that lost its place stays in the table this long: who chose it while its body was still being read must find it."""
RETRY_SECONDS = 30.0
"""A version that the registry made champion and that cannot be served here is tried again after so long."""

Work = Callable[[Served], Awaitable[None]]
Mirror = Callable[[Served, Deployment], Awaitable[None]]
"""Lets a candidate answer copies of real requests; Refused says what speaks against it."""


async def no_mirror(served: Served, candidate: Deployment) -> None:
    """Where there is no traffic to copy."""


class Lifecycle:
    """All models of one machine. `publish` returns when no front end routes by what was before."""

    def __init__(
        self,
        settings: Settings,
        deployments: Deployments,
        publish: Publish,
        mirror: Mirror = no_mirror,
    ) -> None:
        self._versions = Versions(settings, deployments, publish)
        self.registry = self._versions.registry
        self._settings = settings
        self._deployments = deployments
        self._publish = publish
        self._mirror = mirror
        self._models: dict[str, Served] = {}
        self._closing = False

    # What is there

    def __iter__(self) -> Iterator[Served]:
        return iter(list(self._models.values()))

    def of(self, model: str) -> Served | None:
        """A model that something was asked for since this machine started."""
        return self._models.get(model)

    def __contains__(self, deployment: Deployment) -> bool:
        """Whether requests may be routed to it."""
        served = self._models.get(deployment.model)
        return served is not None and deployment in served

    async def start(self) -> None:
        """Begin to load the champion of every model that the settings name. SettingsError, BundleError when that cannot be."""
        settings = self._settings
        names = await asyncio.to_thread(self._versions.names)
        # All of them first: a mistake in the settings of one must not be found while others load.
        found = [await self._versions.find(name, settings.model(name).version) for name in names]
        options = [
            options_of(name, settings, len(names), one.directory.parent)
            for name, one in zip(names, found, strict=True)
        ]
        for name, one, told in zip(names, found, options, strict=True):
            deployment = self._deployments.add(name, one.number, one.directory, told)
            deployment.stamp = one.stamp
            served = self._models[name] = Served(name)
            served.running[one.number], served.champion = deployment, one.number
            served.seen = champion_of(one.state)
            deployment.supervisor.start()

    async def settled(self) -> None:
        """Wait until every version has been loaded once, or has failed to."""
        running = [one for served in self for one in served.running.values()]
        await asyncio.gather(*(one.supervisor.settled.wait() for one in running))

    async def close(self) -> None:
        """Change nothing any more."""
        self._closing = True
        for served in self:
            served.forget_reaping()
        await self._versions.close()

    # What can be asked for

    async def load(
        self, model: str, version: int | None = None, config: dict[str, Any] | None = None
    ) -> None:
        """Serve a version, or the champion, beside whatever answers. Refused says why it cannot be served."""

        async def work(served: Served) -> None:
            wanted = version or served.champion or self._settings.model(model).version
            found = await self._versions.find(model, wanted)
            running = served.running.get(found.number)
            if running is None or not running.ready or running.stamp != found.stamp or config:
                await self._versions.take_place(
                    served, await self._versions.bring(served, found, config)
                )
            if version is None:
                served.champion, served.seen = found.number, champion_of(found.state)
            else:
                served.pinned.add(found.number)
            served.keep.pop(found.number, None)
            await self._publish()

        await self._do(model, ("load", version, repr(config)), work)

    async def unload(self, model: str, version: int | None = None) -> None:
        """Serve a version, or the whole model, no longer; what it has accepted is answered. Returns when its memory is free."""

        async def work(served: Served) -> None:
            if version is not None and version == served.champion:
                raise Refused(
                    f"version {version} of '{model}' answers by default: promote another, or unload the model"
                )
            if version is None:
                served.champion, gone = None, list(served.running)
            else:
                await self._versions.find(model, version)
                gone = [version] if version in served.running else []
            served.withdraw(gone)
            await self._versions.drop(served, gone, wait=True)

        await self._do(model, ("unload", version), work)

    async def promote(
        self,
        model: str,
        version: int,
        *,
        if_champion: int | None = None,
        force: bool = False,
        who: str,
        reason: str = "",
    ) -> None:
        """Make `version` the champion, once it has shown what it can; `force` leaves the comparison out.

        Conflict when the champion is another than `if_champion`, or somebody else was first. Refused says what speaks against it.
        Whatever is raised, the old champion still answers.
        """

        async def work(served: Served) -> None:
            found = await self._versions.find(model, version)
            check_champion(found.state, if_champion)
            if served.champion == version == champion_of(found.state):
                return
            candidate = await self._versions.candidate(served, found)
            try:
                why = "without a comparison" if force else await self._compare(served, candidate)
                self._versions.check_alive(served, candidate)
                if champion_of(found.state) != version or found.state.unwritten:
                    told = f"{reason} ({why})" if reason else why
                    await asyncio.to_thread(
                        self.registry.promote,
                        model,
                        version,
                        if_champion=champion_of(found.state),
                        who=who,
                        why=told,
                        force=force,
                    )
            except BaseException as error:
                self._versions.give_up(served, candidate, error)
                raise
            await self._switch(served, candidate, version)

        await self._do(model, object(), work)

    async def rollback(self, model: str, *, who: str, reason: str = "") -> None:
        """Let the previous champion answer again: at once while it is kept warm, after a load otherwise. Conflict when there is none."""

        async def work(served: Served) -> None:
            state = (await self._versions.find(model, None)).state
            to = state.aliases.get(PREVIOUS)
            if to is None:
                raise Conflict(f"'{model}' has nothing to go back to: none is its previous")
            candidate = await self._versions.candidate(served, await self._versions.find(model, to))
            try:
                self._versions.check_alive(served, candidate)
                await asyncio.to_thread(
                    self.registry.rollback,
                    model,
                    if_champion=champion_of(state),
                    who=who,
                    why=reason,
                )
            except BaseException as error:
                self._versions.give_up(served, candidate, error)
                raise
            await self._switch(served, candidate, to, back=True)

        await self._do(model, object(), work)

    async def share(self, model: str, split: Split) -> None:
        """Let a canary answer some clients, and a shadow copies of requests; both are loaded first. None ends it."""

        async def work(served: Served) -> None:
            for one in (split.canary, split.shadow):
                check_share(served, one)
            wanted = {one.version for one in (split.canary, split.shadow) if one is not None}
            ready: dict[int, Deployment] = {}
            try:
                for version in sorted(wanted):
                    found = await self._versions.find(model, version)
                    ready[version] = await self._versions.candidate(served, found)
            except BaseException as error:
                for candidate in ready.values():
                    self._versions.give_up(served, candidate, error)
                raise
            for candidate in ready.values():
                await self._versions.take_place(served, candidate)
            served.split, served.note = split, None
            await self._publish()
            self._retire_unneeded(served)

        await self._do(model, object(), work)

    async def end_canary(self, model: str, version: int, why: str) -> None:
        """Take a canary's requests away, unless it is another's turn by now; `why` is shown."""

        served = self._models[model]
        if served.split.canary is None or served.split.canary.version != version:
            return
        log.warning("a canary was ended", extra={"model": model, "reason": why})
        served.failures[version] = why
        served.note = f"canary {version} was ended: {why}"
        # At once: another change of this model may wait for a load.
        served.split = Split(None, served.split.shadow)
        await self._publish()
        self._retire_unneeded(served)

    async def follow(self) -> None:
        """Serve the champions that other processes have written into the registry. RegistryUnavailable."""
        states = await asyncio.to_thread(self.registry.snapshot)
        for served in list(self):
            state = states.get(served.name)
            if state is None or served.champion is None or state.problem:
                continue
            champion = champion_of(state)
            if champion is None or champion == served.seen or served.waits(champion):
                continue
            self._versions.background(self._follow(served.name, champion))

    async def _follow(self, model: str, champion: int) -> None:
        async def work(served: Served) -> None:
            found = await self._versions.find(model, champion)
            if served.seen == champion or champion_of(found.state) != champion:
                return
            if served.champion is None:
                return
            candidate = await self._versions.candidate(served, found)
            back = found.state.last is not None and found.state.last.kind == "rollback"
            await self._switch(served, candidate, champion, back=back)

        try:
            await self._do(model, ("follow", champion), work)
        except EvergreenError as error:
            log.error("the registry's champion cannot be served here: %s", error)
            self._models[model].retry[champion] = time.monotonic() + RETRY_SECONDS

    # How it is done

    async def _do(self, model: str, key: object, work: Work) -> None:
        """Run `work` after what is under way for this model. Who asks for the same as the last in line shares its outcome.

        It goes on when nobody waits for it any more.
        """
        if model not in self._models:
            await asyncio.to_thread(self._versions.check_known, model)
        served = self._models.setdefault(model, Served(model))
        if served.last is None or served.last.done() or served.asked != key:
            served.asked, served.last = key, self._versions.begin(self._alone(served, work))
        await asyncio.shield(served.last)

    async def _alone(self, served: Served, work: Work) -> None:
        async with served.lock:
            if self._closing:
                raise Refused("the service is shutting down")
            await work(served)

    async def _compare(self, served: Served, candidate: Deployment) -> str:
        """Kept rows, then copies of real requests. Returns what was compared; Refused says what speaks against `candidate`."""
        told = await comparison.admit(candidate, served.deployment)
        served.failures.pop(candidate.version, None)
        await self._mirror(served, candidate)
        return told

    async def _switch(
        self, served: Served, candidate: Deployment, version: int, *, back: bool = False
    ) -> None:
        """One publication that names the new champion. The old one stays in the table: as previous, or for those that chose it already."""
        await self._versions.take_place(served, candidate)
        previous = None if back else served.champion
        served.champion = served.seen = version
        served.promoted(version)
        await self._publish()
        warm = {previous: self._settings.keep_previous_s} if previous is not None else {}
        self._retire_unneeded(served, warm)

    def _retire_unneeded(self, served: Served, warm: dict[int, float] | None = None) -> None:
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
        served.reap_with(lambda: self._versions.background(self._reap(served.name)))

    async def _reap(self, model: str) -> None:
        async def work(served: Served) -> None:
            await self._versions.drop(served, served.overdue(time.monotonic()), wait=False)
            served.reap_with(lambda: self._versions.background(self._reap(model)))

        try:
            await self._do(model, ("reap",), work)
        except EvergreenError:
            log.exception("a version could not be ended")


def champion_of(state: ModelState) -> int | None:
    """Who answers by the registry's word."""
    return state.aliases.get(CHAMPION)


def check_champion(state: ModelState, expected: int | None) -> None:
    """Conflict where the champion is another: before anything is loaded for nothing."""
    if expected is not None and expected != champion_of(state):
        raise Conflict(
            f"the champion of '{state.name}' is version {champion_of(state)}, not {expected}: look again and decide anew"
        )


def check_share(served: Served, share: Share | None) -> None:
    """InputError where a share cannot be one."""
    if share is None:
        return
    if not 0 <= share.percent <= 100:
        raise InputError(f"'percent' is {share.percent:g}, it must be 0 to 100")
    if share.version == served.champion:
        raise InputError(
            f"version {share.version} of '{served.name}' is its champion and gets the requests as it is"
        )
    if served.champion is None:
        raise Refused(f"'{served.name}' is not loaded: there is nothing to share")
