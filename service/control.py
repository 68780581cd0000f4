"""The first process: starts everything in order, keeps it running, ends it in order. It must not know HTTP beyond the port.

    settings -> bind the port -> engines + front ends start side by side -> every model settled -> ready
    SIGTERM  -> not ready -> front ends answer what they accepted -> engines answer what they accepted -> exit 0

A front end holds a link to control, takes the numbered routing table from it, and asks it for what must not depend on which front
end was hit. One that does not take a table is replaced.
"""

import asyncio
import contextlib
import logging
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from models.errors import EvergreenError
from service import snapshots, triton_metrics
from service.deployments import Deployment, Deployments
from service.errors import SettingsError
from service.evidence import Evidence, Kept
from service.front_ends import FrontEnds
from service.ledger.ledger import Ledger
from service.ledger.metrics import LedgerMetrics
from service.ledger.writer import Writer
from service.lifecycle import Lifecycle
from service.link import Handler
from service.monitoring.monitor import Loaded, Monitor
from service.questions import Questions
from service.retraining import wiring
from service.retraining.answers import Answers
from service.retraining.place import Place
from service.routing import Split, Table
from service.settings import Settings
from service.sharing import Shared
from service.statistics import model_statistics
from service.steering import Steering

log = logging.getLogger(__name__)

WATCH_SECONDS = 1.0
EXPIRE_SECONDS = 600.0

Progress = Callable[[Deployment], None]


class Control:
    """Owns the deployments, the routing table and the metrics page of one machine."""

    def __init__(self, settings: Settings, progress: Progress = lambda deployment: None) -> None:
        self.settings = settings
        self.ledger = Ledger.of(settings)
        self.writer = Writer(self.ledger)
        self.port = settings.port
        self._progress = progress
        self._runtime = Path(tempfile.mkdtemp(prefix="evergreen-"))
        self._stop = asyncio.Event()
        self._table = Table()
        self._totals = snapshots.Totals()
        self._publishing: set[asyncio.Task[None]] = set()
        self._scrape = asyncio.Lock()
        self._counted = Shared(self._count)
        self._pages = {form: Shared(partial(self._page, form)) for form in (False, True)}
        self.deployments = Deployments(settings, self._runtime, self._changed)
        counts = self.deployments.metrics
        self._steering = Steering(settings, self._figures, self.publish, counts)
        self.lifecycle = Lifecycle(settings, self.deployments, self.publish, self._steering.mirror)
        self.monitor = Monitor(settings, self.ledger, self.writer, self._champion, self._running)
        counts.registry.register(self.monitor.metrics)
        counts.registry.register(LedgerMetrics(self.writer))
        kept = Kept(self.ledger, self.writer, self.monitor, self._ship)
        self._evidence = Evidence(settings, self.lifecycle, kept, counts.registry)
        place = Place(settings, self.ledger, self.writer, self.lifecycle, self._figures)
        self.retraining = wiring.loop(place, self._evidence, counts)
        handlers: dict[str, Handler] = {
            "observed": self.monitor.take,
            "metrics": self.metrics_page,
            "statistics": self.statistics,
            **Questions(self.lifecycle, self._steering).handlers(),
            **self._evidence.handlers(),
            **Answers(self.retraining).handlers(),
        }
        self.front_ends = FrontEnds(settings, self._runtime, handlers, counts)

    async def start(self) -> None:
        """Bind the port, start engines and front ends. Returns once all of them answer HTTP and every model has settled.

        Raises SettingsError when the address cannot be had or a front end does not start, BundleError when a model is not there.
        """
        self.port = self.front_ends.bind()
        await self.lifecycle.start()
        await self.publish()
        await self.front_ends.start()
        await self.lifecycle.settled()
        failed = [d.supervisor for d in self.deployments if d.supervisor.state == "failed"]
        if failed and self.settings.strict_provider:
            raise SettingsError(f"{failed[0].name}: {failed[0].reason}")
        self._background(self._watch_traffic())
        await self.publish(ready=True)
        self._background(self._follow())
        self._background(self._steering.watch(self.lifecycle))
        self._background(self._expire())
        self._background(self._evidence.watch())
        self.retraining.start()

    async def run(self) -> None:
        """Stay until SIGTERM or SIGINT."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        await self._stop.wait()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)  # whoever asks twice does not want to wait

    async def close(self) -> None:
        """Answer what was accepted, then end every process and socket."""
        grace = self.settings.drain_timeout_s
        deadline = time.monotonic() + grace
        await self.retraining.close()  # or a job would hear that everything is refused now
        await self.lifecycle.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace / 2):
                await self.publish(ready=False, draining=True)
        await self.front_ends.stop(max(1.0, deadline - time.monotonic()))
        await self.deployments.stop(max(1.0, deadline - time.monotonic()))
        for task in list(self._publishing):
            task.cancel()
        await asyncio.to_thread(self.monitor.close)
        await self.writer.close()
        self.ledger.close()
        shutil.rmtree(self._runtime, ignore_errors=True)

    async def metrics_page(self, asked: Any = None) -> bytes:
        """Every process's counts, added up, in the Prometheus text format, or as OpenMetrics where that is `asked`."""
        return await self._pages[bool(asked and asked.get("openmetrics"))]()

    async def _page(self, openmetrics: bool) -> bytes:
        page = await self._counted()
        aliases = triton_metrics.aliases(page) if self.settings.triton_metrics else []
        return snapshots.exposition([*page, *aliases], openmetrics_asked=openmetrics)

    async def statistics(self, _: Any = None) -> list[dict[str, Any]]:
        """The same counts in the words of the protocol's statistics."""
        return model_statistics(await self._counted())

    async def _count(self) -> snapshots.Snapshot:
        async with self._scrape:
            await asyncio.gather(
                self.deployments.collect(self._totals), self.front_ends.collect(self._totals)
            )
            self._steering.show(self.lifecycle)
            self._totals.update("control", snapshots.snapshot(self.deployments.metrics.registry))
            return self._total()

    async def _figures(self) -> snapshots.Snapshot:
        """What the front ends alone have counted."""
        async with self._scrape:
            await self.front_ends.collect(self._totals)
            return self._total()

    def _total(self) -> snapshots.Snapshot:
        self._totals.keep(self.deployments.labels())
        return self._totals.total()

    async def _follow(self) -> None:
        """Do what other processes write into the registry, for as long as this is not cancelled."""
        away = False
        while True:
            await asyncio.sleep(self.settings.registry_poll_s)
            try:
                await self.lifecycle.follow()
                away = False
            except EvergreenError as error:
                if not away:
                    log.warning("the registry cannot be followed: %s", error)
                away = True

    async def _watch_traffic(self) -> None:
        """Keep the windows of what runs up to date, for as long as this is not cancelled."""
        while True:
            try:
                await self.monitor.follow()
            except Exception:
                log.exception("the traffic cannot be watched")
            await asyncio.sleep(WATCH_SECONDS)

    async def _expire(self) -> None:
        """Take away what the ledger has kept long enough, for as long as this is not cancelled."""
        while True:
            try:
                await self.writer.expire()
            except EvergreenError as error:
                log.info("the ledger keeps what is too old: %s", error)
            await asyncio.sleep(EXPIRE_SECONDS)

    async def _ship(self) -> None:
        """Return when all front ends have told what they observed so far."""
        await self.front_ends.ship()

    def _running(self) -> list[Loaded]:
        """Every version that answers."""
        return [
            Loaded(
                one.model,
                one.version,
                one.directory,
                report["variant"],
                report.get("manifest"),
            )
            for one in self.deployments
            if one.ready and (report := one.supervisor.report)
        ]

    def _champion(self, model: str) -> int | None:
        served = self.lifecycle.of(model)
        return None if served is None else served.champion

    def _changed(self, deployment: Deployment) -> None:
        if deployment in self.lifecycle:
            self._background(self.publish())
            self._end_if_canary(deployment)
        try:
            self._progress(deployment)
        except (Exception, SystemExit):  # rich leaves the program when nobody reads stdout any more
            log.warning("nobody hears what is loading", exc_info=True)

    def _end_if_canary(self, deployment: Deployment) -> None:
        """A canary whose engine ended has had its chance."""
        supervisor, served = deployment.supervisor, self.lifecycle.of(deployment.model)
        if served is None or served.split.canary is None or supervisor.state == "ready":
            return
        if served.split.canary.version == deployment.version and supervisor.restarts:
            why = f"its engine ended: {supervisor.reason}"
            self._background(self.lifecycle.end_canary(deployment.model, deployment.version, why))

    def _background(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    async def publish(self, *, ready: bool | None = None, draining: bool | None = None) -> None:
        """Number a new table; return when no front end routes by an older one. What is not given stays as it is."""
        models, old = list(self.lifecycle), self._table
        self._table = Table(
            old.number + 1,
            old.ready if ready is None else ready,
            old.draining if draining is None else draining,
            {one.name: one.champion for one in models if one.champion is not None},
            tuple(one.target() for served in models for one in served.running.values()),
            {one.name: one.split for one in models if one.split != Split()},
        )
        await self.front_ends.publish(self._table)


async def serve(settings: Settings, progress: Progress, started: Callable[[Control], None]) -> None:
    """Run until told to stop. `started` is called once everything answers."""
    control = Control(settings, progress)
    stopping = asyncio.create_task(control.run())
    try:
        starting = asyncio.create_task(control.start())
        await asyncio.wait({stopping, starting}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            started(control)
        else:
            starting.cancel()
        await stopping
    finally:
        stopping.cancel()
        await control.close()
