"""A job until its run has ended: rows and request put down, run submitted, followed, and ended where that is wanted. It must not know the gate.

queued -> submitted -> running -> evaluating | failed

Every step may be done again after whatever interrupted it: nothing runs before the job is `submitted`, and a launcher makes one run of a job.
"""

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from models import bundle, job
from models.errors import DataError
from service.comparison import prepared
from service.retraining import jobs, traffic
from service.retraining.evaluation import manifest_of
from service.retraining.journal import Journal
from service.retraining.launchers import Launcher
from service.retraining.options import Retraining
from service.retraining.place import Place
from service.settings import Settings

WON = ("watching", "succeeded")
"""Jobs in these states made a champion: what they were trained on proves nothing about the next one."""
STEP = 0.01
"""Progress is told whenever it has come so much further."""


DriftingSince = Callable[[str, int], Awaitable[float | None]]
"""From when on rows of a version's traffic belong to the drift that is on (s since 1970); None where none is."""


class Training:
    """Steps of jobs. Each returns the job after it, or None where there is nothing to do now."""

    def __init__(
        self,
        place: Place,
        journal: Journal,
        launcher: Launcher,
        drifting_since: DriftingSince,
    ) -> None:
        self._place, self._journal = place, journal
        self._ledger, self._lifecycle = place.ledger, place.lifecycle
        self.launcher, self._drifting_since = launcher, drifting_since
        self._offsets: dict[str, int] = {}

    def directory(self, one: jobs.Job) -> Path:
        """Where a job lies."""
        return jobs_of(self._place.settings) / one.id

    async def prepare(self, one: jobs.Job) -> jobs.Job | None:
        """Choose the rows, write everything down, take a version number."""
        served = self._lifecycle.of(one.model)
        if served is None or served.deployment is None:
            return None
        parent, files = served.deployment.version, served.deployment.directory
        options = self._place.of(one.model).retraining
        since = await self._drifting_since(one.model, parent)
        written = await asyncio.to_thread(self._write, one, parent, files, options, since)
        version = await asyncio.to_thread(self._request, one, parent, written, options)
        return await self._journal.move(
            one,
            "submitted",
            f"{written.learnt.trained} rows to learn from, {written.learnt.held_out} to judge by",
            trained=written.hashes,
            parent=parent,
            version=version,
            learnt=written.learnt,
        )

    async def submit(self, one: jobs.Job) -> jobs.Job | None:
        """Start the run, or find it."""
        reference = await self.launcher.submit(self.directory(one))
        return await self._journal.move(one, "running", reference=reference)

    async def follow(self, one: jobs.Job) -> jobs.Job | None:
        """Tell how far the run is, and whether it has ended."""
        reference = one.reference or str(self.directory(one))
        status = await self.launcher.status(reference)
        if (told := await asyncio.to_thread(self._progress, one)) is not None:
            one = await self._journal.note(one, "progress", told.text, progress=told)
        if not status.ended:
            return None
        self._offsets.pop(one.id, None)
        if status.state == "succeeded":
            return await self._journal.move(one, "evaluating", "the run has ended")
        return await self._journal.move(one, "failed", status.reason)

    async def stop(self, one: jobs.Job) -> None:
        """End the run, if there is one."""
        self._offsets.pop(one.id, None)
        if one.reference is not None:
            await self.launcher.cancel(one.reference)
        elif one.state == "submitted":
            # It may have been started by whoever did not live to write that down.
            await self.launcher.cancel(await self.launcher.submit(self.directory(one)))

    async def logs(self, one: jobs.Job, offset: int) -> tuple[bytes, int]:
        """What the run has printed."""
        if one.reference is None:
            return b"", offset
        return await self.launcher.logs(one.reference, offset)

    def _write(
        self,
        one: jobs.Job,
        parent: int,
        files: Path,
        options: Retraining,
        drifting_since: float | None,
    ) -> traffic.Written:
        """In a thread: everything but the request."""
        directory = self.directory(one)
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir(parents=True)
        manifest = manifest_of(files)
        begun = self._ledger.jobs.begun(one.model)
        last = next((j.learnt for j in begun if j.state in WON and j.learnt is not None), None)
        source = traffic.Source(
            self._ledger.learning,
            one.model,
            self._alike(one.model, parent, manifest),
            self._ledger.jobs.trained(one.model, WON),
            0 if last is None else last.position,
            drifting_since,
        )
        written = traffic.write(directory, source, manifest.labels, options, one.trigger)
        traffic.parent(directory, files)
        return written

    def _alike(self, model: str, parent: int, manifest: bundle.Manifest) -> list[int]:
        """Versions that took the same tensors, made in the same way."""
        registry, found = self._lifecycle.registry, [parent]
        for version in registry.versions(model):
            other = None if version == parent else registry.manifest(model, version)
            if other is not None and prepared(other) == prepared(manifest):
                found.append(version)
        return found

    def _request(
        self, one: jobs.Job, parent: int, written: traffic.Written, options: Retraining
    ) -> int:
        """In a thread: a version number, and the request, last."""
        directory = self.directory(one)
        version = self._lifecycle.registry.allocate(
            one.model, who=f"retraining {one.id}", why=one.trigger.reason
        )
        request = job.Request(
            id=one.id,
            model=one.model,
            version=version,
            recipe=recipe_of(one.model, options, directory),
            parent=parent,
            weights=traffic.PARENT,
            traffic=written.traffic,
            reference=written.reference,
            base_share=options.base_share,
            parameters=one.trigger.parameters,
            seed=options.seed,
            deadline=self._place.clock() + options.most_hours * 3600,
            trigger=one.trigger.kind,
            reason=one.trigger.reason,
            evidence=one.trigger.evidence,
        )
        job.write(directory, job.REQUEST, request)
        return version

    def _progress(self, one: jobs.Job) -> jobs.Progress | None:
        """In a thread: where the run is, if that is news."""
        lines, self._offsets[one.id] = job.read_progress(
            self.directory(one), self._offsets.get(one.id, 0)
        )
        if not lines:
            return None
        last = lines[-1]
        told = jobs.Progress(last.stage, last.done, last.total, last.loss, last.accuracy, last.text)
        return told if is_news(one.progress, told) else None


def jobs_of(settings: Settings) -> Path:
    """Where jobs lie."""
    return (settings.training.jobs or settings.state / "jobs").absolute()


def is_news(before: jobs.Progress | None, now: jobs.Progress) -> bool:
    """Whether it has come on so far that somebody should be told."""
    if before is None or before.stage != now.stage:
        return True
    if now.done <= before.done:
        return False
    return now.done >= now.total or now.done - before.done >= STEP * now.total


def recipe_of(model: str, options: Retraining, directory: Path) -> str:
    """The recipe's name, or its file, which is taken along into the job's directory."""
    recipe = options.recipe or model
    if not recipe.endswith(".py"):
        return recipe
    target = directory / Path(recipe).name
    try:
        shutil.copyfile(recipe, target)
    except OSError as error:
        raise DataError(f"retraining.recipe: {recipe}: {error.strerror}") from error
    return str(target)
