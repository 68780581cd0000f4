"""What leaves an engine: each caller's answer or error, the counts of a batch, and word of it to who traces. It must not know who runs next."""

import time
from typing import NamedTuple

from service.engine import runner, tracing, wire
from service.engine.config import Config
from service.engine.lanes import Entry
from service.engine.runner import Ran, Tensors
from service.engine.scheduler import Batch
from service.engine.session import Session
from service.errors import DeadlineExceeded, EngineError
from service.metrics import EngineMetrics

MOST_ANSWER_BYTES = 256 * 1024 * 1024
"""An answer beyond it is not sent: the front end that has to turn it into text serves others, too."""

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


class Answers:
    """Of one engine; used by its loop alone."""

    def __init__(self, session: Session, config: Config, metrics: EngineMetrics) -> None:
        self._session = session
        self._identity = (config.model, config.version)
        self._metrics = metrics
        self._traced = False

    def expect_traced(self) -> None:
        """From now on requests may be traced; before, nothing is looked at."""
        self._traced = True

    def answer(self, batch: Batch, ran: Ran, seconds: float) -> None:
        """Each caller of a batch that has run for so many `seconds`."""
        self._count(batch, ran, seconds)
        for entry, answer in zip(batch.entries, ran.answers, strict=True):
            if entry.live:
                timing = Timing(batch.started - entry.arrived, seconds, batch.rows)
                self._reply(entry, answer, timing)
        if self._traced:
            self._tell_traced(batch, ran, seconds)

    def expired(self, entries: list[Entry]) -> None:
        """The deadline of these passed before they ran."""
        for entry in entries:
            self._metrics.count_refused("deadline")
            self.fail(entry, DeadlineExceeded("the deadline passed while the request was queued"))

    def fail(self, entry: Entry, error: Exception) -> None:
        """One caller's error."""
        job: Job = entry.payload
        retry_after = getattr(error, "retry_after", 0.0)
        job.channel.send(
            wire.Failure(job.message.id, type(error).__name__, str(error), retry_after)
        )

    def _count(self, batch: Batch, ran: Ran, seconds: float) -> None:
        if not ran.whole:
            self._metrics.splits.inc()
        self._metrics.compute.observe(seconds)
        self._metrics.batch_rows.observe(batch.rows)
        self._metrics.rows.inc(batch.rows)
        self._metrics.batches.observe(batch.rows, seconds, time.time())
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
            if (size := sum(map(len, body))) > MOST_ANSWER_BYTES:
                raise EngineError(
                    f"the answer has {size:,} bytes, the limit is {MOST_ANSWER_BYTES:,}"
                )
        except Exception as error:  # noqa: BLE001 - an output that cannot be sent must not cost its batch mates theirs
            self._metrics.count_refused("failed")
            self.fail(entry, runner.as_engine_error(error))
            return
        job.channel.send(wire.Result(job.message.id, heads, *timing), body)

    def _tell_traced(self, batch: Batch, ran: Ran, seconds: float) -> None:
        """What ran, to one of those whose requests are traced: it makes the spans."""
        ended = batch.started + seconds
        told = tracing.told(self._identity, self._session.report, batch, ran, ended)
        if told is None:
            return
        message, channel = told
        channel.send(message)
        waits = {one.trace[0][3:35]: batch.started - one.arrived for one in message.traced}
        self._metrics.exemplify(waits, seconds, time.time())
