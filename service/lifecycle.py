"""Which versions this machine serves, and how that changes under load. It must not know HTTP.

    load     a version beside those that answer    unload                      a version, or a model
    share    a canary's requests, a shadow's copies    promote, rollback, follow   who answers: service/swaps.py

The registry says who is champion; this machine follows. Changes of one model run one after another, those of different models at the same
time; equal loads and unloads that were asked for at the same time are one.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Iterator
from typing import Any

from models.errors import EvergreenError, InputError
from service import starting, triton
from service.deployments import Deployment, Deployments
from service.errors import Refused
from service.routing import Share, Split
from service.served import Served
from service.settings import Settings
from service.swaps import Mirror, Order, Swaps, champion_of, no_mirror
from service.versions import Found, Publish, Versions

log = logging.getLogger(__name__)

RETRY_SECONDS = 30.0
"""A version that the registry made champion and that cannot be served here is tried again after so long."""

Work = Callable[[Served], Awaitable[None]]


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
        self._swaps = Swaps(settings, self._versions, publish, mirror, self._reap)
        self._models: dict[str, Served] = {}
        self._closing = False

    # What is there

    def __iter__(self) -> Iterator[Served]:
        return iter(list(self._models.values()))

    def of(self, model: str) -> Served | None:
        """A model that something was asked for since this machine started."""
        return self._models.get(model)

    def unserved(self, known: Collection[str]) -> dict[str, str]:
        """Models of a Triton repository that are not among those `known` to the registry, and why."""
        return triton.unserved(self._settings.repository, known)

    def __contains__(self, deployment: Deployment) -> bool:
        """Whether requests may be routed to it."""
        served = self._models.get(deployment.model)
        return served is not None and deployment in served

    async def start(self) -> None:
        """Begin to load what `starting` finds for every model that the settings name. SettingsError, BundleError when that cannot be."""
        # All of them first: a mistake in the settings of one must not be found while others load.
        plan = await starting.plan(self._settings, self._versions)
        for name, firsts in plan.models.items():
            champion = firsts[0].found
            served = self._models[name] = Served(name)
            served.champion, served.seen = champion.number, champion_of(champion.state)
            for one, options in firsts:
                deployment = self._deployments.add(name, one.number, one.directory, options)
                deployment.stamp = one.stamp
                served.running[one.number] = deployment
                deployment.supervisor.start()
            served.pinned |= served.running.keys() - {champion.number}
        for name, (number, reason) in plan.left_out.items():
            served = self._models[name] = Served(name)
            served.failures[number] = reason

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
            await self._let_in(served, found, config)
            if version is None:
                served.champion, served.seen = found.number, champion_of(found.state)
                for number in starting.beside(found, self._settings.model(model).version):
                    other = await self._versions.find(model, number)
                    await self._let_in(served, other, config)
                    served.pinned.add(number)
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

        order = Order(who, reason, if_champion, force)
        await self._do(model, object(), lambda served: self._swaps.promote(served, version, order))

    async def rollback(
        self, model: str, *, who: str, reason: str = "", if_champion: int | None = None
    ) -> None:
        """Let the previous champion answer again: at once while it is kept warm, after a load otherwise.

        Conflict when there is none, or the champion is another than `if_champion`.
        """

        order = Order(who, reason, if_champion)
        await self._do(model, object(), lambda served: self._swaps.roll_back(served, order))

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
            self._swaps.retire_unneeded(served)

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
        self._swaps.retire_unneeded(served)

    async def follow(self) -> None:
        """Serve the champions that other processes have written into the registry. RegistryUnavailable."""
        states = await self._versions.states(
            {(one.name, version) for one in self for version in {*one.running, *one.starting}}
        )
        for served in list(self):
            state = states.get(served.name)
            if state is None or served.champion is None or state.problem:
                continue
            champion = champion_of(state)
            if champion is None or champion == served.seen or served.waits(champion):
                continue
            self._versions.background(self._follow(served.name, champion))

    async def _follow(self, model: str, champion: int) -> None:
        try:
            await self._do(
                model, ("follow", champion), lambda served: self._swaps.follow(served, champion)
            )
        except EvergreenError as error:
            log.error("the registry's champion cannot be served here: %s", error)
            self._models[model].retry[champion] = time.monotonic() + RETRY_SECONDS

    # How it is done

    async def _let_in(self, served: Served, found: Found, config: dict[str, Any] | None) -> None:
        """Load a version and put it into the table, unless it is there as it was found and asked for."""
        running = served.running.get(found.number)
        if running is None or not running.ready or running.stamp != found.stamp or config:
            one = await self._versions.bring(served, found, config)
            await self._versions.take_place(served, one)

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

    def _reap(self, served: Served) -> None:
        """End what has stayed long enough, once nothing else is being done with this model."""

        async def work(served: Served) -> None:
            await self._versions.drop(served, served.overdue(time.monotonic()), wait=False)
            served.reap_with(lambda: self._reap(served))

        async def reap() -> None:
            try:
                await self._do(served.name, ("reap",), work)
            except EvergreenError:
                log.exception("a version could not be ended")

        self._versions.background(reap())


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
