"""The first process: starts everything in order, keeps it running, ends it in order. It must not know HTTP beyond the port.

    settings -> bind the port -> engines + front end start side by side -> every model settled -> ready
    SIGTERM  -> not ready -> front ends answer what they accepted -> engines answer what they accepted -> exit 0

The front ends are children on one shared port. Each holds a link to control, takes the numbered routing table from it, and asks it
for what must not depend on which front end was hit.
"""

import asyncio
import contextlib
import logging
import shutil
import signal
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from service import metrics
from service.deployments import Deployment, Deployments
from service.engine.supervisor import Supervisor
from service.errors import SettingsError, Unavailable
from service.link import Link
from service.routing import Table
from service.settings import Settings

log = logging.getLogger(__name__)

Progress = Callable[[Deployment], None]


class Control:
    """Owns the deployments, the routing table and the metrics page of one machine."""

    def __init__(self, settings: Settings, progress: Progress = lambda deployment: None) -> None:
        self.settings = settings
        self.port = settings.port
        self._progress = progress
        self._runtime = Path(tempfile.mkdtemp(prefix="evergreen-"))
        self._listener: socket.socket | None = None
        self._links: dict[str, Link] = {}
        self._front_end: Supervisor | None = None
        self._stop = asyncio.Event()
        self._table = Table()
        self._totals = metrics.Totals()
        self._publishing: set[asyncio.Task[None]] = set()
        self._scrape = asyncio.Lock()
        self._link_number = 0
        self._server: asyncio.Server | None = None
        self.deployments = Deployments(settings, self._runtime, self._changed)

    async def start(self) -> None:
        """Bind the port, start engines and front end. Returns once HTTP is answered and every model has settled.

        Raises SettingsError when the address cannot be had, BundleError when a model is not there.
        """
        self._listener = bind(self.settings.host, self.settings.port)
        self.port = self._listener.getsockname()[1]
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._accept, str(self._runtime / "control"))
        self.deployments.start()
        await self._publish()
        listening = (self._listener.fileno(),)
        self._front_end = Supervisor(
            "front end", self._front_end_command, self._front_end_changed, listening
        )
        self._front_end.start()
        await self._front_end.settled.wait()
        if self._front_end.state != "ready":
            raise SettingsError(f"the front end does not start: {self._front_end.reason}")
        await self.deployments.settled()
        failed = [d.supervisor for d in self.deployments if d.supervisor.state == "failed"]
        if failed and self.settings.strict_provider:
            raise SettingsError(f"{failed[0].name}: {failed[0].reason}")
        await self._publish(ready=True)

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
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace / 2):
                await self._publish(ready=False, draining=True)
        if self._listener is not None:
            self._listener.close()
        if self._front_end is not None:
            await self._front_end.stop(max(1.0, deadline - time.monotonic()))
        await self.deployments.stop(max(1.0, deadline - time.monotonic()))
        for task in list(self._publishing):
            task.cancel()
        if self._server is not None:
            self._server.close()
        shutil.rmtree(self._runtime, ignore_errors=True)

    async def metrics_page(self, _: Any = None) -> bytes:
        """Every process's counts, added up, in the Prometheus text format."""
        async with self._scrape:
            await asyncio.gather(
                self.deployments.collect(self._totals), *map(self._collect, list(self._links))
            )
            self._totals.update("control", metrics.snapshot(self.deployments.metrics.registry))
            return metrics.exposition(self._totals.total())

    async def _collect(self, name: str) -> None:
        link = self._links.get(name)
        with contextlib.suppress(Unavailable):
            if link is not None:
                raw = await link.ask("metrics", seconds=2)
                self._totals.update(name, msgspec.convert(raw, metrics.Snapshot))

    def _front_end_command(self, lifeline: int) -> list[str]:
        assert self._listener is not None  # noqa: S101 - bound before the first start
        settings = msgspec.json.encode(self.settings, enc_hook=str).decode()
        return [
            "service.frontend",
            settings,
            str(self._runtime / "control"),
            str(self._listener.fileno()),
            str(lifeline),
        ]

    def _front_end_changed(self, supervisor: Supervisor) -> None:
        again = supervisor.state == "starting" and supervisor.restarts > 0
        log.log(
            logging.WARNING if again else logging.INFO,
            "front end %s",
            supervisor.state,
            extra={"pid": supervisor.pid, "reason": supervisor.reason},
        )

    def _accept(self) -> Any:
        """A front end has connected: give it the table as it stands."""
        self._link_number += 1
        name = f"front-end-{self._link_number}"
        link = Link({"metrics": self.metrics_page})
        self._links[name] = link

        async def stay() -> None:
            await link.opened.wait()
            await self._send(link)
            await link.lost.wait()
            del self._links[name]
            self._totals.retire(name)

        self._background(stay())
        return link.channel

    def _changed(self, deployment: Deployment) -> None:
        self._background(self._publish())
        try:
            self._progress(deployment)
        except (Exception, SystemExit):  # rich leaves the program when nobody reads stdout any more
            log.warning("nobody hears what is loading", exc_info=True)

    def _background(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._publishing.add(task)
        task.add_done_callback(self._publishing.discard)

    async def _publish(self, *, ready: bool | None = None, draining: bool | None = None) -> None:
        """Number a new table; return when every front end routes by it. What is not given stays as it is."""
        deployments, old = list(self.deployments), self._table
        self._table = Table(
            old.number + 1,
            old.ready if ready is None else ready,
            old.draining if draining is None else draining,
            {d.model: d.version for d in deployments},
            tuple(d.target() for d in deployments),
        )
        await asyncio.gather(*map(self._send, list(self._links.values())))

    async def _send(self, link: Link) -> None:
        with contextlib.suppress(Unavailable):  # it ended, or ends: its successor is told at once
            await link.ask("route", msgspec.to_builtins(self._table))


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. SettingsError says why the address cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(2048)
    except OSError as error:
        raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return listener


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
