"""A loaded version on its socket: what front ends ask, scheduled, run, answered. It must not know HTTP or how a version is loaded.

    frame -> Entry in the scheduler -> batch -> run thread (ONNX Runtime without the GIL) -> a frame to each caller

It ends when it is told to, when a run hangs and when its device is lost: what it had accepted is then run by its replacement.
"""

import asyncio
import contextlib
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import msgspec

from service.engine import calibration, runner, wire
from service.engine.calibration import Calibration
from service.engine.config import Config
from service.engine.lanes import Entry, Key
from service.engine.latency import LatencyTable, label
from service.engine.lifeline import Lifeline, Said
from service.engine.runner import Ran, Tensors
from service.engine.scheduler import Batch, Limits, Scheduler
from service.engine.session import Session
from service.errors import (
    DeadlineExceeded,
    DeadlineUnmeetable,
    DeviceLost,
    EngineError,
    QueueFull,
    Unavailable,
)
from service.metrics import EngineMetrics
from service.snapshots import snapshot

DRAIN_SECONDS = 60.0
"""The longest that an engine works on after it was told to stop; its supervisor is usually less patient."""
LEAVE_SECONDS = 1.0
"""The longest that last answers may take to leave an engine that cannot go on."""
LEFT = 70
"""Exit code of an engine that left by itself: a hung run, a lost device."""

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

    def __init__(
        self,
        session: Session,
        config: Config,
        calibrated: Calibration,
        threads: ThreadPoolExecutor,
        lifeline: Lifeline,
    ) -> None:
        options = config.options
        self._session = session
        self._config = config
        self._lifeline = lifeline
        self._threads = threads
        self._metrics = EngineMetrics(config.model, config.version)
        limits = Limits(
            session.report["instances"],
            options.max_queue_rows,
            options.max_batch_tokens,
            options.max_delay_ms / 1000,
        )
        latency = LatencyTable(calibration.as_curve(calibrated.curve))
        self._scheduler = Scheduler(limits, calibrated.caps, latency)
        self._running: dict[Key, Entry] = {}
        self._pump_due = False
        self._alarm: asyncio.TimerHandle | None = None
        self._stopping = asyncio.Event()
        self._drained = asyncio.Event()
        self._leaving = False
        self._channels: set[EngineChannel] = set()
        self._closed = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    async def serve(self) -> int:
        """Listen, say so on the lifeline, and stay until SIGTERM or until the lifeline ends. The exit code."""
        self._loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        self._lifeline.attend(self._stopping.set)
        server = await self._loop.create_unix_server(self._accept, self._config.socket)
        self._lifeline.say(Said("ready", report=self._session.report))
        await self._stopping.wait()
        server.close()
        self._check_drained()
        # Bounded here, too: a supervisor that has gone kills nobody.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS if self._leaving else DRAIN_SECONDS):
                await self._drained.wait()
                await self._close_channels()
        return LEFT if self._leaving else 0

    async def _close_channels(self) -> None:
        """End every connection; each ends when its last answer has left."""
        self._closed.clear()
        for channel in self._channels:
            channel.close()
        if self._channels:
            await self._closed.wait()

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
                caps = self._scheduler.caps()
                self._metrics.show_caps({label(bucket): cap for bucket, cap in caps.items()})
                channel.send(wire.Stats(message.id, snapshot(self._metrics.registry)))
            case wire.Hold():
                self._scheduler.hold(message.requests)
            case _:
                channel.close()

    def _accept_request(
        self, channel: EngineChannel, message: wire.Infer, tensors: Tensors
    ) -> None:
        now = time.monotonic()
        entry = Entry(
            key=(id(channel), message.id),
            bucket=self._session.bucket(tensors),
            rows=message.rows,
            arrived=now,
            deadline=message.deadline,
            priority=message.priority,
            payload=Job(channel, message, tensors),
        )
        try:
            self._scheduler.add(entry, now)
        except (QueueFull, DeadlineUnmeetable) as error:
            full = isinstance(error, QueueFull)
            self._metrics.count_refused("queue_full" if full else "deadline_unmeetable")
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
        for key in (*self._scheduler.waiting(), *self._running):
            if key[0] == id(channel):
                self._cancel(key)

    def _check_drained(self) -> None:
        if self._stopping.is_set() and not self._running and not self._scheduler.queued_rows:
            self._drained.set()

    def _pump_soon(self) -> None:
        """Start batches once per loop tick, so that frames which arrived together run together."""
        if not self._pump_due:
            self._pump_due = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Decide, run, and say when to look again."""
        self._pump_due = False
        now = time.monotonic()
        for entry in self._scheduler.expire(now):
            self._metrics.count_refused("deadline")
            self._fail(entry, DeadlineExceeded("the deadline passed while the request was queued"))
        while (batch := self._scheduler.next_batch(now)) is not None:
            self._running |= {entry.key: entry for entry in batch.entries}
            hung = self._loop.call_later(self._config.options.hang_limit_s, self._on_hang, batch)
            self._threads.submit(self._run, batch, hung)
        self._check_drained()
        self._set_alarm(now)

    def _set_alarm(self, now: float) -> None:
        """Wake for the next deadline or the end of a wait, whichever is first."""
        at = self._scheduler.wake_at(now)
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        if at is not None:
            self._alarm = self._loop.call_later(max(0.0, at - now), self._pump_soon)

    def _run(self, batch: Batch, hung: asyncio.TimerHandle) -> None:
        """In a run thread."""
        jobs: list[Job] = [entry.payload for entry in batch.entries]
        wanted = {name for job in jobs for name in job.message.outputs}
        outcome: Ran | Exception
        try:
            outcome = runner.run(self._session, [job.tensors for job in jobs], sorted(wanted))
        except Exception as error:  # noqa: BLE001 - whatever it is, it must reach the loop, or its callers wait for ever
            outcome = error
        self._loop.call_soon_threadsafe(self._finish, batch, hung, outcome)

    def _finish(self, batch: Batch, hung: asyncio.TimerHandle, ran: Ran | Exception) -> None:
        hung.cancel()
        if self._leaving:
            return
        if isinstance(ran, DeviceLost):
            self._leave(str(ran))
            return
        if isinstance(ran, Exception):
            ran = Ran([runner.as_engine_error(ran)] * len(batch.entries), whole=False)
        now = time.monotonic()
        if ran.whole:
            self._scheduler.finished(batch, now)
        else:
            self._scheduler.failed(batch)
            self._metrics.splits.inc()
        if ran.too_large is not None:
            self._scheduler.out_of_memory(batch.bucket, ran.too_large)
        # The next batch first: its thread should not wait until these answers are written.
        self._pump()
        self._answer(batch, ran, now - batch.started)
        self._check_drained()

    def _answer(self, batch: Batch, ran: Ran, seconds: float) -> None:
        """Each caller of a batch that has run."""
        self._count(batch, seconds)
        for entry, answer in zip(batch.entries, ran.answers, strict=True):
            del self._running[entry.key]
            if entry.live:
                timing = Timing(batch.started - entry.arrived, seconds, batch.rows)
                self._reply(entry, answer, timing)

    def _on_hang(self, batch: Batch) -> None:
        """A run that does not end cannot be stopped from outside; its callers are told, and the process goes."""
        limit = self._config.options.hang_limit_s
        seconds = self._session.report["load_seconds"]
        for entry in batch.entries:
            self._fail(
                entry,
                Unavailable(
                    f"the run took longer than {limit:g} s; the engine is replaced", seconds
                ),
            )
        self._leave(f"a run of {batch.rows} rows took longer than {limit:g} s")

    def _leave(self, reason: str) -> None:
        """End now: callers who were not answered lose their connection, and ask the replacement."""
        self._leaving = True
        self._lifeline.say(Said(reason=reason))
        self._drained.set()
        self._stopping.set()

    def _count(self, batch: Batch, seconds: float) -> None:
        self._metrics.compute.observe(seconds)
        self._metrics.batch_rows.observe(batch.rows)
        self._metrics.rows.inc(batch.rows)
        for entry in batch.entries:
            self._metrics.queue.observe(batch.started - entry.arrived)
        real, padded = self._session.lengths([entry.payload.tensors for entry in batch.entries])
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
            self._fail(entry, runner.as_engine_error(error))
            return
        job.channel.send(wire.Result(job.message.id, heads, *timing), body)

    def _fail(self, entry: Entry, error: Exception) -> None:
        job: Job = entry.payload
        retry_after = getattr(error, "retry_after", 0.0)
        job.channel.send(
            wire.Failure(job.message.id, type(error).__name__, str(error), retry_after)
        )
