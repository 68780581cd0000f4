"""The front ends that share one port: a listener for each, a process on each, kept running. It must not know what HTTP says.

listener (stays open here, whatever becomes of the process) + supervisor -> process -> link -> takes every routing table, or is replaced

The kernel spreads new connections over the listeners. A connection that waits on the listener of a process that has ended is
answered by the next one on it.
"""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Coroutine, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from models.errors import EvergreenError
from service import snapshots
from service.engine.supervisor import TRACE_SECRETS, Supervisor
from service.errors import SettingsError, Unavailable
from service.link import Handler, Link
from service.metrics import ControlMetrics
from service.routing import Table
from service.settings import Settings

log = logging.getLogger(__name__)

ACKNOWLEDGE_SECONDS = 15.0
"""A front end that has not taken over a routing table by then is replaced; giving up on a silent engine takes it 5 of them."""
ENDING_SECONDS = 5.0
"""A process that has closed its link is about to end; after this long it is ended."""
SCRAPE_SECONDS = 4.0
"""A front end that takes longer to tell its counts is left with those it told last."""
SHIP_SECONDS = 5.0
"""A front end that takes longer to tell what it observed is waited for no longer."""
BACKLOG = 2048
CONFIDED = ("EVERGREEN_TOKEN", *TRACE_SECRETS)
"""What a front end has to know of what is told to nobody."""


class FrontEnds:
    """All front ends of this machine. `handlers` answer what they ask control."""

    def __init__(
        self,
        settings: Settings,
        runtime: Path,
        handlers: Mapping[str, Handler],
        counts: ControlMetrics,
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._handlers = handlers
        self._counts = counts
        self._all: list[FrontEnd] = []
        self._reserved: socket.socket | None = None
        self.grpc_port: int | None = None

    def bind(self) -> int:
        """Take the port, and gRPC's where one is set; returns its number. SettingsError when an address cannot be had."""
        settings = self._settings
        if settings.grpc_port is not None:
            self._reserved = reserve(settings.host, settings.grpc_port)
            self.grpc_port = int(self._reserved.getsockname()[1])
            settings = msgspec.structs.replace(settings, grpc_port=self.grpc_port)
        listeners = bind(settings.host, settings.port, settings.front_ends)
        self._all = [
            FrontEnd(number, listener, settings, self._runtime, self._handlers, self._changed)
            for number, listener in enumerate(listeners, 1)
        ]
        return int(listeners[0].getsockname()[1])

    async def start(self) -> None:
        """Start all; return when every one answers. SettingsError says which does not, and why."""
        await asyncio.gather(*(one.start() for one in self._all))
        await asyncio.gather(*(one.supervisor.settled.wait() for one in self._all))
        for supervisor in (one.supervisor for one in self._all):
            if supervisor.state != "ready":
                raise SettingsError(f"{supervisor.name} does not start: {supervisor.reason}")

    async def publish(self, table: Table) -> None:
        """Return when no front end routes by an older table: who does not acknowledge this one is replaced."""
        await asyncio.gather(*(one.take(table) for one in self._all))

    async def collect(self, totals: snapshots.Totals) -> None:
        """Bring the front ends' metrics up to date; one that has ended keeps its last figures."""
        alive = {one.source: one for one in self._all if one.source is not None}

        async def ask(source: str) -> None:
            with contextlib.suppress(Unavailable):
                totals.update(source, await alive[source].snapshot())

        await asyncio.gather(*map(ask, alive))
        for source in totals.sources():
            if source.startswith("front end ") and source not in alive:
                totals.retire(source)

    async def ship(self) -> None:
        """Return when every front end has told what it observed so far. Unavailable when one does not say so."""
        await asyncio.gather(*(one.ship() for one in self._all))

    async def stop(self, grace: float) -> None:
        """Close the port; every front end answers what it has accepted, then ends."""
        if self._reserved is not None:
            self._reserved.close()
        await asyncio.gather(*(one.stop(grace) for one in self._all))

    def _changed(self, supervisor: Supervisor) -> None:
        again = supervisor.state == "starting" and supervisor.restarts > 0
        self._counts.front_end_restarts.inc(again)
        self._counts.front_ends.set(sum(one.supervisor.state == "ready" for one in self._all))
        log.log(
            logging.WARNING if again else logging.INFO,
            "%s %s",
            supervisor.name,
            supervisor.state,
            extra={"pid": supervisor.pid, "reason": supervisor.reason},
        )


class FrontEnd:
    """One listener, the process that answers on it, and the link that this process holds."""

    def __init__(
        self,
        number: int,
        listener: socket.socket,
        settings: Settings,
        runtime: Path,
        handlers: Mapping[str, Handler],
        on_change: Callable[[Supervisor], None],
    ) -> None:
        name = f"front end {number}"
        self.supervisor = Supervisor(
            name, self._command, on_change, (listener.fileno(),), confided=CONFIDED
        )
        self._listener = listener
        self._settings = settings
        self._path = runtime / f"front-end-{number}"
        self._handlers = handlers
        self._table = Table()
        self._link: Link | None = None
        self._links = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def source(self) -> str | None:
        """The name of the counts of the process that runs now, None while there is none."""
        return None if self._link is None else f"{self.supervisor.name}, {self._links}"

    async def start(self) -> None:
        """Begin; the supervisor is settled when the process answers HTTP, or has ended."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._accept, str(self._path))
        self.supervisor.start()

    async def take(self, table: Table) -> None:
        """Return when the process routes by `table`, or has been stopped because it does not say that it does."""
        self._table = table
        if (link := self._link) is None:  # it answers nothing before it has been given the newest
            return
        try:
            await link.ask("route", msgspec.to_builtins(table), ACKNOWLEDGE_SECONDS)
        except EvergreenError as error:
            grace = 0.0 if link.channel.open else ENDING_SECONDS
            await self.supervisor.replace(f"routing table {table.number}: {error}", grace)

    async def snapshot(self) -> snapshots.Snapshot:
        """The process's metrics. Unavailable when it does not tell them."""
        if self._link is None:
            raise Unavailable(f"{self.supervisor.name} cannot be reached")
        raw = await self._link.ask("metrics", seconds=SCRAPE_SECONDS)
        return msgspec.convert(raw, snapshots.Snapshot)

    async def ship(self) -> None:
        """Return when the process has told what it observed; one that has gone has nothing to tell any more."""
        if self._link is not None:
            await self._link.ask("ship", seconds=SHIP_SECONDS)

    async def stop(self, grace: float) -> None:
        """Close the listener, let the process answer what it has accepted, then end it."""
        # In this order: once its supervisor is stopping, no other process asks for the listener.
        await asyncio.gather(self.supervisor.stop(grace), self._close_listener())
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()

    async def _close_listener(self) -> None:
        self._listener.close()

    def _command(self, lifeline: int) -> list[str]:
        # A command line is seen by everybody on the machine, and a ledger's URL may hold a password.
        told = msgspec.structs.replace(self._settings, ledger_url=None)
        settings = msgspec.json.encode(told, enc_hook=str).decode()
        listener = str(self._listener.fileno())
        return ["service.frontend", settings, str(self._path), listener, str(lifeline)]

    def _accept(self) -> Any:
        """The process has connected."""
        link = Link(self._handlers, self.supervisor.name)
        self._background(self._hold(link))
        return link.channel

    async def _hold(self, link: Link) -> None:
        """The life of one link. Without it a process would go on by the table it has, so it ends with it."""
        await link.opened.wait()
        self._link, self._links = link, self._links + 1
        self._background(self.take(self._table))
        await link.lost.wait()
        await self.supervisor.replace("it has closed its link to control", ENDING_SECONDS)
        if self._link is link:
            self._link = None

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def bind(host: str, port: int, count: int = 1) -> list[socket.socket]:
    """`count` listening sockets on one address; port 0 picks a free one. SettingsError says why it cannot be had."""
    listeners: list[socket.socket] = []
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listeners.append(listening(family, address, shared=False))
        if count > 1:
            # Not before it listens: what shares from the start shares with another service of the same user, too.
            listeners[0].setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        address = listeners[0].getsockname()
        listeners.extend(listening(family, address, shared=True) for _ in range(1, count))
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise SettingsError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
    return listeners


def listening(family: int, address: Any, *, shared: bool) -> socket.socket:
    """A listening socket; OSError when somebody else has the address."""
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shared)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def reserve(host: str, port: int) -> socket.socket:
    """Take an address for gRPC, whose library opens its own listeners: bound, shared with our front ends alone, and not listening.

    Port 0 picks a free one. SettingsError when the address cannot be had, or what speaks gRPC is not installed.
    """
    if missing := [name for name in ("grpc", "tritonclient") if find_spec(name) is None]:
        raise SettingsError(
            f"grpc_port is set, but {missing[0]} is not installed: pip install -e '.[grpc]'"
        )
    held: socket.socket | None = None
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        held = socket.socket(family, socket.SOCK_STREAM)
        # While it binds it shares with what is closing, and with nothing that listens ...
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(address)
        # ... afterwards with our front ends, and not with another service that comes to reserve.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except OSError as error:
        if held is not None:
            held.close()
        raise SettingsError(
            f"cannot listen on {host}:{port} for gRPC: {error.strerror or error}"
        ) from error
    return held
