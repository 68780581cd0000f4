"""A loaded version on its socket: what front ends ask, scheduled and run. It must not know HTTP or how a version is loaded.

    frame -> Entry in the scheduler -> batch -> run thread (ONNX Runtime without the GIL) -> a frame to each caller

A run thread takes its next batch itself: waiting for the loop to hand it over would cost it a quarter of its time on small batches.
So the scheduler is shared, under one lock; everything else belongs to the loop.

It ends when it is told to, when a run hangs and when its device is lost: what it had accepted is then run by its replacement.
"""

import asyncio
import contextlib
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import msgspec

from service.engine import calibration, runner, wire
from service.engine.answers import Answers, EngineChannel, Job
from service.engine.calibration import Calibration
from service.engine.config import Config
from service.engine.lanes import Entry, Key
from service.engine.latency import LatencyTable
from service.engine.lifeline import Lifeline, Said
from service.engine.runner import Ran, Tensors
from service.engine.scheduler import Batch, Limits, Scheduler
from service.engine.session import Session
from service.errors import DeadlineUnmeetable, DeviceLost, QueueFull, Unavailable
from service.metrics import EngineMetrics
from service.snapshots import snapshot

DRAIN_SECONDS = 60.0
"""The longest that an engine works on after it was told to stop; its supervisor is usually less patient."""
LEAVE_SECONDS = 1.0
"""The longest that last answers may take to leave an engine that cannot go on."""
LEFT = 70
"""Exit code of an engine that left by itself: a hung run, a lost device."""


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
        self._answers = Answers(session, config, self._metrics)
        limits = Limits(
            session.report["instances"],
            options.max_queue_rows,
            options.max_batch_tokens,
            options.max_delay_ms / 1000,
        )
        latency = LatencyTable(calibration.as_curve(calibrated.curve))
        self._scheduler = Scheduler(limits, calibrated.caps, latency)
        self._lock = threading.Lock()
        """Held for every use of the scheduler and of `_running`, and for nothing that takes long."""
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
        watching = self._loop.create_task(self._watch())
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
        watching.cancel()
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
                with self._lock:
                    queued, caps = self._scheduler.queued_rows, self._scheduler.caps()
                    requests = len(self._scheduler.waiting())
                self._metrics.queue_rows.set(queued)
                self._metrics.queue_requests.set(requests)
                self._metrics.show_caps(caps)
                channel.send(wire.Stats(message.id, snapshot(self._metrics.registry)))
            case wire.Hold():
                with self._lock:
                    self._scheduler.hold(message.requests)
            case _:
                channel.close()

    def _accept_request(
        self, channel: EngineChannel, message: wire.Infer, tensors: Tensors
    ) -> None:
        now = time.monotonic()
        if message.trace is not None:
            self._answers.expect_traced()
        entry = Entry(
            key=(id(channel), message.id),
            bucket=self._session.bucket(tensors),
            rows=self._session.rows(tensors),
            arrived=now,
            deadline=message.deadline,
            priority=message.priority,
            payload=Job(channel, message, tensors),
        )
        try:
            with self._lock:
                self._scheduler.add(entry, now)
        except (QueueFull, DeadlineUnmeetable) as error:
            full = isinstance(error, QueueFull)
            self._metrics.count_refused("queue_full" if full else "deadline_unmeetable")
            self._answers.fail(entry, error)
            return
        self._pump_soon()

    def _cancel(self, key: Key) -> None:
        with self._lock:
            queued = self._scheduler.cancel(key)
            running = self._running.get(key)
        if queued:
            self._metrics.count_cancelled("queued")
        elif running is not None:
            running.live = False
            self._metrics.count_cancelled("running")
        self._check_drained()

    def _on_lost(self, channel: EngineChannel) -> None:
        """A front end went away: nobody waits for what it asked."""
        self._channels.discard(channel)
        if not self._channels:
            self._closed.set()
        with self._lock:
            keys = (*self._scheduler.waiting(), *self._running)
        for key in keys:
            if key[0] == id(channel):
                self._cancel(key)

    def _check_drained(self) -> None:
        if not self._stopping.is_set():
            return
        with self._lock:
            if not self._running and not self._scheduler.queued_rows:
                self._drained.set()

    def _pump_soon(self) -> None:
        """Start batches once per loop tick, so that frames which arrived together run together."""
        if not self._pump_due:
            self._pump_due = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        """Put every idle run thread to work, and say when to look again."""
        self._pump_due = False
        expired: list[Entry] = []
        while (batch := self._take(expired)) is not None:
            self._threads.submit(self._run, batch)
        self._answers.expired(expired)
        self._check_drained()
        self._set_alarm(time.monotonic())

    def _take(self, expired: list[Entry]) -> Batch | None:
        """The next batch, if an instance is free for it; what can't be answered in time any more is added to `expired`."""
        now = time.monotonic()
        with self._lock:
            if self._leaving:
                return None
            expired += self._scheduler.expire(now)
            batch = self._scheduler.next_batch(now)
            if batch is not None:
                self._running |= {entry.key: entry for entry in batch.entries}
        return batch

    def _set_alarm(self, now: float) -> None:
        """Wake for the next deadline or the end of a wait, whichever is first; an alarm that comes too early is set anew then."""
        with self._lock:
            at = self._scheduler.wake_at(now)
        if at is None or (self._alarm is not None and self._alarm.when() <= at):
            return
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_at(at, self._wake)

    def _wake(self) -> None:
        self._alarm = None
        self._pump()

    async def _watch(self) -> None:
        """Look for runs that do not end; a timer for each would cost a small batch as much as its scheduling."""
        limit = self._config.options.hang_limit_s
        while not self._leaving:
            await asyncio.sleep(limit / 10)
            with self._lock:
                running = self._scheduler.running()
            for batch in running:
                if time.monotonic() - batch.started > limit:
                    self._on_hang(batch)

    def _run(self, first: Batch) -> None:
        """In a run thread: `first`, and whatever is next after it, until nothing waits."""
        batch: Batch | None = first
        while batch is not None:
            jobs: list[Job] = [entry.payload for entry in batch.entries]
            wanted = {name for job in jobs for name in job.message.outputs}
            ran: Ran | DeviceLost
            try:
                ran = runner.run(self._session, [job.tensors for job in jobs], sorted(wanted))
            except DeviceLost as error:
                ran = error
            except Exception as error:  # noqa: BLE001 - whatever it is, it must reach the loop, or its callers wait for ever
                ran = Ran([runner.as_engine_error(error)] * len(jobs), whole=False)
            ended = time.monotonic()
            if not isinstance(ran, DeviceLost):
                self._release(batch, ran, ended)
            expired: list[Entry] = []
            following = None if isinstance(ran, DeviceLost) else self._take(expired)
            self._loop.call_soon_threadsafe(self._finish, batch, ran, ended, expired)
            batch = following

    def _release(self, batch: Batch, ran: Ran, ended: float) -> None:
        """Tell the scheduler that an instance is free, and what was learned."""
        with self._lock:
            if ran.whole:
                self._scheduler.finished(batch, ended)
            else:
                self._scheduler.failed(batch)
            if ran.too_large is not None:
                self._scheduler.out_of_memory(batch.bucket, ran.too_large)

    def _finish(
        self,
        batch: Batch,
        ran: Ran | DeviceLost,
        ended: float,
        expired: list[Entry],
    ) -> None:
        """Back on the loop: `batch` has run, its thread is busy with the next one."""
        if self._leaving:
            return
        if isinstance(ran, DeviceLost):
            self._leave(str(ran))
            return
        with self._lock:
            for entry in batch.entries:
                del self._running[entry.key]
        self._answers.answer(batch, ran, ended - batch.started)
        self._answers.expired(expired)
        # Something may have come while the thread found nothing, and its last look set no alarm.
        self._pump_soon()

    def _on_hang(self, batch: Batch) -> None:
        """A run that does not end cannot be stopped from outside; its callers are told, and the process goes."""
        limit = self._config.options.hang_limit_s
        seconds = self._session.report["load_seconds"]
        for entry in batch.entries:
            self._answers.fail(
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
