"""A model's versions on this machine: found in the registry, brought up beside those that answer, taken down. It must not know why.

registry -> Found -> an engine that answers -> a place in the table -> drained -> gone
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine
from pathlib import Path
from typing import Any, NamedTuple

from models.errors import EvergreenError
from models.registry import Look, ModelState, Registry
from service import triton
from service.deployments import Deployment, Deployments, options_of
from service.errors import NotFound, Refused, SettingsError
from service.served import Served
from service.settings import Settings, plain

log = logging.getLogger(__name__)

Publish = Callable[[], Awaitable[None]]


class Found(NamedTuple):
    """A version in the registry, and where it lies on this machine."""

    state: ModelState
    number: int
    directory: Path

    @property
    def stamp(self) -> str:
        """Changes with the version's files."""
        return self.state.versions[self.number].stamp


class Versions:
    """Engines for versions. `publish` returns when no front end routes by what was before."""

    def __init__(self, settings: Settings, deployments: Deployments, publish: Publish) -> None:
        overlay = settings.registry or settings.state / "registry"
        self.registry = Registry([settings.repository], overlay, settings.state / "registry-copies")
        self._settings = settings
        self._deployments = deployments
        self._publish = publish
        self._tasks: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        """Give up what is under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def names(self) -> list[str]:
        """The models to serve from the start. SettingsError where the settings cannot be kept."""
        settings, known = self._settings, self.registry.models()
        names = list(dict.fromkeys(settings.serve)) or known
        if not names:
            raise SettingsError(f"there are no models in {settings.repository}")
        if unknown := sorted(settings.models.keys() - {plain(name) for name in known}):
            raise SettingsError(
                f"there are settings for '{unknown[0]}', the models are {', '.join(known)}"
            )
        return names

    def check_known(self, model: str) -> None:
        """NotFound for what is not in the registry; Refused where a Triton configuration says why."""
        if self.registry.find(model) is None:
            if reason := triton.unserved(self._settings.repository, ()).get(model):
                raise Refused(reason)
            raise NotFound(f"Request for unknown model: '{model[:128]}' is not found")

    async def states(self, used: Collection[tuple[str, int]]) -> dict[str, ModelState]:
        """Every model as the registry has it now. Local copies of removed versions go, but for those `used` as (model, version)."""

        def look() -> dict[str, ModelState]:
            states = self.registry.snapshot()
            self.registry.tidy(states, used)
            return states

        return await asyncio.to_thread(look)

    async def look(self, model: str) -> Look:
        """One model as the registry has it now. BundleError when there is none."""
        return await asyncio.to_thread(self.registry.look, model)

    async def find(self, model: str, version: int | None, look: Look | None = None) -> Found:
        """A version, or the champion, on this machine, as of `look` or now. NotFound when there is none such."""

        def find() -> Found:
            seen = look or self.registry.look(model)
            state = seen.state
            if version is not None and version not in state.versions:
                there = ", ".join(map(str, state.versions))
                raise NotFound(f"'{model}' has no version {version}, only {there}")
            return Found(state, *seen.resolve(version))

        return await asyncio.to_thread(find)

    async def candidate(self, served: Served, found: Found) -> Deployment:
        """The version with an engine that answers: the one that is there, or a new one."""
        running = served.running.get(found.number)
        if running is not None and running.ready and running.stamp == found.stamp:
            return running
        return await self.bring(served, found)

    async def bring(
        self, served: Served, found: Found, config: dict[str, Any] | None = None
    ) -> Deployment:
        """Load a version beside those that answer; requests are not routed to it yet. Refused says why it cannot be served."""
        number, champion = found.number, served.deployment
        options = await asyncio.to_thread(
            options_of,
            served.name,
            self._settings,
            len({one.model for one in self._deployments} | {served.name}),
            found.directory.parent,
            config,
        )
        one = self._deployments.add(served.name, number, found.directory, options)
        one.stamp = found.stamp
        one.beside(champion)
        served.starting.add(number)
        try:
            await self._deployments.load(one)
        except Refused as error:
            served.failures[number] = str(error)
            raise
        finally:
            served.starting.discard(number)
        served.failures.pop(number, None)
        return one

    def check_alive(self, served: Served, candidate: Deployment) -> None:
        """Refused where its engine has ended since it was loaded."""
        if not candidate.ready or (candidate.supervisor.restarts and candidate not in served):
            reason = candidate.supervisor.reason or candidate.supervisor.state
            raise Refused(f"{served.name}/{candidate.version} did not stay up: {reason}")

    def give_up(self, served: Served, candidate: Deployment, error: BaseException) -> None:
        """A candidate that was not let in leaves nothing behind but the reason."""
        if candidate in served:
            return
        if isinstance(error, Refused):
            served.failures[candidate.version] = str(error)
        self.background(self._dismiss(candidate))

    async def _dismiss(self, candidate: Deployment) -> None:
        await self._publish()  # it may have been in the table for copies
        await self._deployments.drop(candidate, 0.0)

    async def take_place(self, served: Served, one: Deployment) -> None:
        """Put an engine into the table, in the place of another of its version if there is one, which then drains."""
        old = served.running.get(one.version)
        served.running[one.version] = one
        if old is not None and old is not one:
            await self._publish()
            self.background(self._drain(old))

    async def _drain(self, old: Deployment) -> None:
        await self._deployments.drop(old, self._settings.drain_timeout_s)

    async def drop(self, served: Served, numbers: list[int], *, wait: bool) -> None:
        """Out of the table, then out of memory, which takes as long as the last answer: not everybody has to `wait` for it."""
        gone = [served.running.pop(number) for number in numbers if number in served.running]
        for number in numbers:
            served.keep.pop(number, None)
        if not gone:
            return
        await self._publish()
        ending = [self.begin(self._drain(one)) for one in gone]
        if wait:
            await asyncio.gather(*ending)

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Have `work` done."""
        _ = self.begin(work)

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Future[None]:
        """Have `work` done, whoever waits for it; `close` gives it up."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not isinstance(error, EvergreenError):
            log.error("a change of what is served met a defect", exc_info=error)
