"""The engine process: one model version, one scheduler, `instances` run threads. It must not know HTTP or other versions.

    frame -> Entry in the scheduler -> batch -> run thread (ONNX Runtime without the GIL) -> a frame to each caller

Started by the supervisor as `python -m service.engine.worker CONFIG`. It ends by itself when the supervisor is gone.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import uvloop

from models.errors import EvergreenError
from service.engine import providers, wire
from service.engine.config import Config
from service.engine.scheduler import Entry, Key, Scheduler
from service.engine.session import Session, Tensors
from service.errors import DeadlineExceeded, EngineError, QueueFull
from service.metrics import EngineMetrics, snapshot

DRAIN_SECONDS = 60.0
"""The longest that an engine works on after it was told to stop; its supervisor is usually less patient."""

EngineChannel = wire.Channel[wire.EngineMessage]


class Job(NamedTuple):
    """What the scheduler carries for the engine: who asked, for what."""

    channel: EngineChannel
    message: wire.Infer
    tensors: Tensors


class Timing(NamedTuple):
    """Seconds that a request was queued, seconds that its batch computed, rows of the batch."""

    queue: float
    compute: float
    batch_rows: int


class Engine:
    """Serves one loaded session on a unix socket until it is told to stop; then it answers what it has accepted."""

    def __init__(self, session: Session, config: Config) -> None:
        options = config.options
        self._session = session
        self._config = config
        self._metrics = EngineMetrics(config.model, config.version)
        self._scheduler = Scheduler(options.max_batch_rows, options.max_queue_rows)
        self._threads = ThreadPoolExecutor(options.instances, thread_name_prefix="run")
        self._idle = options.instances
        self._running: dict[Key, Entry] = {}
        self._pump_due = False
        self._stopping = asyncio.Event()
        self._drained = asyncio.Event()
        self._channels: set[EngineChannel] = set()
        self._closed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def serve(self, lifeline: socket.socket) -> None:
        """Listen, say so on the lifeline, and stay until SIGTERM or until the lifeline ends."""
        self._loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        lifeline.setblocking(False)
        self._loop.add_reader(lifeline, self._on_lifeline, lifeline)
        server = await self._loop.create_unix_server(self._accept, self._config.socket)
        report(lifeline, "ready", report=self._session.report)
        await self._stopping.wait()
        server.close()
        self._check_drained()
        # Bounded here, too: a supervisor that has gone kills nobody.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._drained.wait()
                await self._close_channels()

    async def _close_channels(self) -> None:
        """End every connection; each ends when its last answer has left."""
        self._closed.clear()
        for channel in self._channels:
            channel.close()
        if self._channels:
            await self._closed.wait()

    def _on_lifeline(self, lifeline: socket.socket) -> None:
        if not lifeline.recv(1024):
            self._loop.remove_reader(lifeline)
            self._stopping.set()

    def _accept(self) -> EngineChannel:
        def hello(channel: EngineChannel) -> None:
            self._channels.add(channel)
            channel.send(wire.Hello(wire.PROTOCOL, msgspec.to_builtins(self._session.report)))

        return wire.Channel(wire.EngineMessage, self._on_message, self._on_lost, hello)

    def _on_message(
        self, channel: EngineChannel, message: wire.EngineMessage, body: memoryview
    ) -> None:
        match message:
            case wire.Infer():
                self._accept_request(channel, message, wire.unpack(message.tensors, body))
            case wire.Cancel():
                self._cancel((id(channel), message.id))
            case wire.StatsRequest():
                self._metrics.queue_rows.set(self._scheduler.queued_rows)
                channel.send(wire.Stats(message.id, snapshot(self._metrics.registry)))
            case wire.Hold():
                self._scheduler.hold(message.rows)
            case _:
                channel.close()

    def _accept_request(
        self, channel: EngineChannel, message: wire.Infer, tensors: Tensors
    ) -> None:
        entry = Entry(
            key=(id(channel), message.id),
            bucket=self._session.bucket(tensors),
            rows=message.rows,
            arrived=time.monotonic(),
            deadline=message.deadline,
            payload=Job(channel, message, tensors),
        )
        try:
            self._scheduler.add(entry)
        except QueueFull as error:
            self._metrics.count_refused("queue_full")
            self._fail(entry, error)
            return
        self._pump_soon()

    def _cancel(self, key: Key) -> None:
        if self._scheduler.cancel(key):
            self._metrics.count_cancelled("queued")
        elif key in self._running:
            self._running[key].live = False
            self._metrics.count_cancelled("running")
        self._check_drained()

    def _on_lost(self, channel: EngineChannel) -> None:
        """A front end went away: nobody waits for what it asked."""
        self._channels.discard(channel)
        if not self._channels:
            self._closed.set()
        for key in self._scheduler.waiting():
            if key[0] == id(channel):
                self._cancel(key)

    def _check_drained(self) -> None:
        if self._stopping.is_set() and not self._running and not self._scheduler.queued_rows:
            self._drained.set()

    def _pump_soon(self) -> None:
        """Start batches once per loop tick, so that frames which arrived together run together."""
        if not self._pump_due and self._idle:
            self._pump_due = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_due = False
        while self._idle:
            batch, expired = self._scheduler.next_batch(time.monotonic())
            for entry in expired:
                self._metrics.count_refused("deadline")
                self._fail(
                    entry, DeadlineExceeded("the deadline passed while the request was queued")
                )
            if not batch:
                self._check_drained()
                return
            self._idle -= 1
            self._running |= {entry.key: entry for entry in batch}
            started = time.monotonic()
            future = self._loop.run_in_executor(self._threads, self._run, batch)
            future.add_done_callback(partial(self._finish, batch, started))

    def _run(self, batch: Sequence[Entry]) -> list[Tensors | EngineError]:
        """In a run thread: the outputs of each entry. A failing batch is halved until the guilty entry is alone."""
        try:
            return list(self._session.run([entry.payload.tensors for entry in batch]))
        except Exception as error:  # noqa: BLE001 - a defect here must answer its caller, too, and only its own
            if len(batch) == 1:
                return [as_engine_error(error)]
        middle = len(batch) // 2
        return self._run(batch[:middle]) + self._run(batch[middle:])

    def _finish(
        self,
        batch: Sequence[Entry],
        started: float,
        done: asyncio.Future[list[Tensors | EngineError]],
    ) -> None:
        seconds = time.monotonic() - started
        rows = sum(entry.rows for entry in batch)
        self._idle += 1
        self._scheduler.ran(rows, seconds)
        self._count(batch, rows, started, seconds)
        for entry, answer in zip(batch, done.result(), strict=True):
            del self._running[entry.key]
            if entry.live:
                self._reply(entry, answer, Timing(started - entry.arrived, seconds, rows))
        self._check_drained()
        self._pump_soon()

    def _count(self, batch: Sequence[Entry], rows: int, started: float, seconds: float) -> None:
        self._metrics.compute.observe(seconds)
        self._metrics.batch_rows.observe(rows)
        self._metrics.rows.inc(rows)
        for entry in batch:
            self._metrics.queue.observe(started - entry.arrived)
        real, padded = self._session.lengths([entry.payload.tensors for entry in batch])
        self._metrics.real.inc(real)
        self._metrics.padded.inc(padded)

    def _reply(self, entry: Entry, answer: Tensors | EngineError, timing: Timing) -> None:
        """One caller's answer. What goes wrong with it is that caller's alone."""
        job: Job = entry.payload
        try:
            if isinstance(answer, EngineError):
                raise answer
            heads, body = wire.pack({name: answer[name] for name in job.message.outputs})
        except Exception as error:  # noqa: BLE001 - an output that cannot be sent must not cost its batch mates theirs
            self._metrics.count_refused("failed")
            self._fail(entry, as_engine_error(error))
            return
        job.channel.send(wire.Result(job.message.id, heads, *timing), body)

    def _fail(self, entry: Entry, error: Exception) -> None:
        job: Job = entry.payload
        retry_after = getattr(error, "retry_after", 0.0)
        job.channel.send(
            wire.Failure(job.message.id, type(error).__name__, str(error), retry_after)
        )


def as_engine_error(error: Exception) -> EngineError:
    """The error itself, or a defect of ours in the words that a caller may see."""
    return (
        error if isinstance(error, EngineError) else EngineError(f"{type(error).__name__}: {error}")
    )


def report(lifeline: socket.socket, state: str, **fields: Any) -> None:
    """Tell the supervisor: one JSON line."""
    lifeline.sendall(msgspec.json.encode({"state": state, **fields}) + b"\n")


def main() -> int:
    """Load, then serve. Exit code 1 when the version cannot be loaded; the reason is on the lifeline."""
    config = msgspec.json.decode(sys.argv[1], type=Config)
    lifeline = socket.socket(fileno=config.lifeline)
    try:
        if clash := providers.clashing_wheels():
            raise EngineError(clash)
        session = Session.load(Path(config.directory), config.options)
    except EvergreenError as error:
        report(lifeline, "failed", reason=str(error))
        return 1
    except Exception as error:  # noqa: BLE001 - whatever is wrong with a bundle, its reason must be heard
        report(lifeline, "failed", reason=f"{type(error).__name__}: {error}")
        return 1

    async def serve() -> None:
        await Engine(session, config).serve(lifeline)

    uvloop.run(serve())
    # ONNX Runtime's threads need no farewell, and a slow one must not hold up the swap.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
