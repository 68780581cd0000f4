"""A job from its finished bundle on: published, judged, tried, promoted, watched. It must not know how anything is trained.

evaluating -> (awaiting_approval) -> promoting -> watching -> succeeded
          \\-> rejected        \\-> rejected                \\-> rolled_back

Every step may be done again after whatever interrupted it: a version is published once, and the registry's log says who answers.
"""

import asyncio
import logging
from pathlib import Path
from typing import Any

from models import bundle, job
from models.errors import Conflict, DataError, InputError
from models.registry import publishing
from models.registry.aliases import CHALLENGER, CHAMPION
from models.traffic import Traffic, read
from service.errors import EngineError, Refused, Unavailable
from service.retraining import traffic
from service.retraining.evaluation import Judged, Version, evaluate, manifest_of
from service.retraining.jobs import Job, Progress, State
from service.retraining.journal import Journal
from service.retraining.place import Place
from service.retraining.training import WON, is_news
from service.retraining.trial import Trials
from service.retraining.vouching import Vouching
from service.retraining.watching import Watching

log = logging.getLogger(__name__)

WHO = "retraining "


class Promotion:
    """Steps of jobs. Each returns the job after it, or None where there is nothing to do now. `directory_of`: where a job lies."""

    def __init__(
        self,
        place: Place,
        journal: Journal,
        trials: Trials,
        watching: Watching,
    ) -> None:
        self._place, self._ledger, self._lifecycle = place, place.ledger, place.lifecycle
        self._journal, self._trials, self._watching = journal, trials, watching
        self._vouching = Vouching(place.settings)

    async def judge(self, one: Job, directory: Path) -> Job | None:
        """Publish the bundle, load it, and hold it against the champion."""
        await asyncio.to_thread(self._publish, one, directory)
        options = self._place.of(one.model).retraining
        try:
            await self._trials.load(one.model, version_of(one))
            judged = await self._judged(one, directory)
        except (Refused, EngineError) as error:
            return await self._reject(one, str(error))
        champion, challenger = self._both(one)
        known: dict[str, Any] = {
            "gate": judged.verdict,
            "champion": champion.manifest.version,
            "promised": 1 - judged.accuracy.low,
        }
        if not judged.verdict.passed:
            failed = [line.text for line in judged.verdict.lines if not line.passed]
            await self.withdraw(one)
            return await self._journal.move(one, "rejected", "; ".join(failed), **known)
        after: State = "awaiting_approval" if options.approval else "promoting"
        text = f"version {challenger.manifest.version} passed the gate"
        return await self._journal.move(one, after, text, **known)

    async def promote(self, one: Job) -> Job | None:
        """Try it for a while, then let it answer."""
        options, version = self._place.of(one.model).retraining, version_of(one)
        served = self._lifecycle.of(one.model)
        if served is not None and served.champion == version:
            return await self._journal.move(one, "watching", f"version {version} answers")
        try:
            await self._trials.load(one.model, version)
            seconds = self._place.clock() - one.entered_at
            standing = await self._trials.step(one.model, version, options, seconds)
            if standing.against is None:
                await self._tell_trial(one, standing.requests, options.trial_requests)
                return None
            if standing.against:
                return await self._reject(one, standing.against)
            await self._lifecycle.promote(
                one.model,
                version,
                if_champion=one.champion,
                who=f"{WHO}{one.id}",
                reason=one.trigger.reason or one.trigger.kind,
            )
        except Conflict as error:
            if await asyncio.to_thread(self._champion, one.model) in (one.champion, version):
                return (
                    None  # another alias was changed at that moment, or it answers soon: once more
                )
            return await self._reject(one, str(error))
        except Refused as error:
            return await self._reject(one, str(error))
        return await self._journal.move(one, "watching", f"version {version} answers")

    async def watch(self, one: Job) -> Job | None:
        """Take it back when it hurts, for as long as it is watched."""
        own, version = self._place.of(one.model), version_of(one)
        served = self._lifecycle.of(one.model)
        if served is None or served.champion != version:
            champion = await asyncio.to_thread(self._champion, one.model)
            # Where the registry names it, it is followed soon.
            return None if champion == version else await self._replaced(one, champion)
        why = await self._watching.against(served, one.made_at, one.promised, own)
        if why is not None:
            return await self._take_back(one, why)
        if self._place.clock() - one.entered_at < own.retraining.watch_h * 3600:
            return None
        self._watching.forget(one.model)
        return await self._journal.move(one, "succeeded", f"version {version} does no harm")

    async def promoted(self, one: Job) -> bool:
        """Whether it answers by the registry's word."""
        if one.state != "promoting":
            return one.state == "watching"
        return await asyncio.to_thread(self._champion, one.model) == one.version

    async def withdraw(self, one: Job) -> None:
        """A challenger that will not be promoted is one no longer; it stays in the registry, for whoever wants to look at it."""
        if one.version is None:
            return
        try:
            await self._trials.end(one.model, one.version)
        except (Refused, InputError) as error:
            log.info("version %s of '%s' keeps its share: %s", one.version, one.model, error)
        await asyncio.to_thread(self._clear, one)

    async def _reject(self, one: Job, why: str) -> Job:
        await self.withdraw(one)
        return await self._journal.move(one, "rejected", why)

    async def _tell_trial(self, one: Job, requests: int, wanted: int) -> None:
        told = Progress("trial", min(requests, wanted), wanted)
        if is_news(one.progress, told):
            await self._journal.note(one, "progress", progress=told)

    async def _take_back(self, one: Job, why: str) -> Job | None:
        version = version_of(one)
        try:
            await self._lifecycle.rollback(
                one.model, who=f"{WHO}{one.id}", reason=why, if_champion=version
            )
        except Conflict as error:
            if await asyncio.to_thread(self._champion, one.model) != version:
                return None  # somebody was first: the next look says who
            return await self._journal.move(one, "failed", f"{why}; {error}")
        self._watching.forget(one.model)
        return await self._journal.move(one, "rolled_back", why)

    async def _replaced(self, one: Job, champion: int | None) -> Job:
        """Somebody has decided otherwise meanwhile."""
        self._watching.forget(one.model)
        if champion == one.champion:
            text = f"version {champion} was brought back by somebody"
            return await self._journal.move(one, "rolled_back", text)
        return await self._journal.move(one, "succeeded", f"version {champion} has followed it")

    async def _judged(self, one: Job, directory: Path) -> Judged:
        champion, challenger = self._both(one)
        if one.learnt is None:
            raise DataError(f"job {one.id} does not say what it was trained on")
        newest = await asyncio.to_thread(
            read, directory / traffic.HOLDOUT, one.learnt.held_out_sha256
        )
        old = await asyncio.to_thread(held_out, directory)
        trained = await asyncio.to_thread(self._trained, one, directory)
        limits = self._place.of(one.model).retraining.gate
        return await evaluate(champion, challenger, newest, old, trained, limits)

    def _both(self, one: Job) -> tuple[Version, Version]:
        """Champion and challenger with their engines. Unavailable while either has none."""
        served, version = self._lifecycle.of(one.model), version_of(one)
        champion = None if served is None else served.deployment
        challenger = None if served is None else served.running.get(version)
        if champion is None or challenger is None or not challenger.ready:
            raise Unavailable(f"champion or challenger of '{one.model}' has no engine now", 5.0)
        return (
            Version(champion, manifest_of(champion.directory)),
            Version(challenger, manifest_of(challenger.directory)),
        )

    def _trained(self, one: Job, directory: Path) -> set[bytes]:
        """In a thread: hashes of what either version has learnt from, this one's by the file that it was given."""
        known = self._ledger.jobs.trained(one.model, WON)
        if one.learnt is not None:
            rows = read(directory / job.TRAFFIC, one.learnt.sha256).rows
            known |= {traffic.hashed(row) for row in rows}
        return known

    def _publish(self, one: Job, directory: Path) -> None:
        """In a thread: put the bundle into the registry, unless it is there, vouch for it, and call it the challenger."""
        registry, version = self._lifecycle.registry, version_of(one)
        who, why = f"{WHO}{one.id}", one.trigger.reason or one.trigger.kind
        if version not in registry.versions(one.model):
            check_bundle(directory)
            what = publishing.prepared(directory / job.BUNDLE, one.model)
            registry.publish(what, who=who, why=why, version=version)
        self._vouching.sign(registry, one.model, version, directory / job.BUNDLE)
        if registry.aliases(one.model).get(CHALLENGER) != version:
            registry.set_alias(one.model, CHALLENGER, version, who=who, why=why)

    def _clear(self, one: Job) -> None:
        registry = self._lifecycle.registry
        if registry.aliases(one.model).get(CHALLENGER) == one.version:
            registry.clear_alias(one.model, CHALLENGER, who=f"{WHO}{one.id}", why="not promoted")

    def _champion(self, model: str) -> int | None:
        return self._lifecycle.registry.aliases(model).get(CHAMPION)


def version_of(one: Job) -> int:
    """The number that was taken for the challenger."""
    if one.version is None:
        raise DataError(f"job {one.id} has no version number")
    return one.version


def check_bundle(directory: Path) -> None:
    """DataError where the bundle is another than the one that the run says it has made."""
    result = job.read_result(directory)
    expected = "" if result is None else result.manifest_sha256
    found = bundle.sha256(directory / job.BUNDLE / bundle.MANIFEST) if expected else ""
    if found != expected:
        raise DataError(f"the bundle is another than the run says: {found[:12]}, {expected[:12]}")


def held_out(directory: Path) -> Traffic | None:
    """The rows that the run held out of the recipe's own data; None where it left none."""
    result = job.read_result(directory)
    if result is None or not result.held_out:
        return None
    return read(directory / job.HELD_OUT, result.held_out)
