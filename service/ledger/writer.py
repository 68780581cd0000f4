"""The one thread that writes to a ledger, off the path of requests. It must not know what a record means.

Records are put down and forgotten: they wait in bounded queues, what finds no room is dropped and counted, and what waits is written about twice
a second in one transaction for each kind. A ledger that is away makes them wait, not fail. A call is run after everything that was put before it.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from itertools import islice
from typing import Any, Literal, ParamSpec, TypeVar

from service.errors import Unavailable
from service.ledger.ledger import Ledger
from service.ledger.records import Block, Evaluation, Payload, Prediction

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
Kind = Literal["predictions", "payloads", "blocks", "evaluations"]
Record = Prediction | Payload | Block | Evaluation

KINDS: tuple[Kind, ...] = ("predictions", "payloads", "blocks", "evaluations")
EVERY_SECONDS = 0.5
AT_ONCE = 500
ROOM_BYTES = 32 * 1024 * 1024
"""What may wait of each kind: payloads take no room from blocks."""
RECORD_BYTES = 400
"""About what a record takes beside its data."""
RETRY_SECONDS = 5.0
CALLS = 64


class Queue:
    """Records of one kind that wait, and how many were written and dropped."""

    def __init__(self, room: int) -> None:
        self.records: deque[Record] = deque()
        self.written = 0
        self.dropped = 0
        self.taken = self.removed = 0
        self._room = room

    def put(self, records: Sequence[Record]) -> int:
        """Take as many as there is room for; how many that were."""
        taken = 0
        for record in records:
            if self._room < cost(record):
                break
            self._room -= cost(record)
            self.records.append(record)
            taken += 1
        self.taken += taken
        self.dropped += len(records) - taken
        return taken

    def remove(self, count: int) -> None:
        """The first `count` wait no longer."""
        for _ in range(count):
            self._room += cost(self.records.popleft())
        self.removed += count


def cost(record: Record) -> int:
    """About how many bytes a record takes while it waits."""
    if isinstance(record, Payload):
        return RECORD_BYTES + len(record.data)
    return RECORD_BYTES + (len(record.counts) if isinstance(record, Block) else 0)


class Writer:
    """Writes to one ledger until it is closed; `put` and `run` may be called from any thread."""

    def __init__(self, ledger: Ledger, *, room: int = ROOM_BYTES) -> None:
        self._ledger = ledger
        self._add: dict[Kind, Callable[[Any], None]] = {
            "predictions": ledger.add_predictions,
            "payloads": ledger.add_payloads,
            "blocks": ledger.add_blocks,
            "evaluations": ledger.add_evaluations,
        }
        self._queues = {kind: Queue(room) for kind in KINDS}
        self._calls: deque[tuple[Future[Any], Callable[[], Any]]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._next = 0.0
        self._not_before = 0.0
        self._thread = threading.Thread(target=self._work, name="ledger", daemon=True)
        self._thread.start()

    def put(self, kind: Kind, records: Sequence[Record]) -> int:
        """Let records be written soon; how many of them there was room for. Never waits."""
        with self._changed:
            if self._closing:
                self._queues[kind].dropped += len(records)
                return 0
            taken = self._queues[kind].put(records)
            self._changed.notify()
        return taken

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What a call of the ledger returns or raises. Unavailable when too many wait, or the writer was closed."""
        future: Future[T] = Future()
        with self._changed:
            if self._closing or len(self._calls) >= CALLS:
                raise Unavailable(
                    "the ledger is closing"
                    if self._closing
                    else f"{CALLS} calls of it wait already"
                )
            self._calls.append((future, lambda: call(*args, **kwargs)))
            self._changed.notify()
        return await asyncio.wrap_future(future)

    async def flush(self) -> None:
        """Return when everything that was put so far has been written. Unavailable when it cannot be now: it waits, and nobody finds it."""
        with self._changed:
            wanted = [(queue, queue.taken) for queue in self._queues.values()]

        def check() -> None:
            if any(queue.removed < taken for queue, taken in wanted):
                raise Unavailable(
                    "the ledger cannot be written now; what was observed waits", RETRY_SECONDS
                )

        await self.run(check)

    async def expire(self) -> None:
        """Take away all that is too old or too much, letting others in between two steps."""
        while await self.run(self._ledger.expire, time.time()):
            pass

    def written(self) -> dict[Kind, int]:
        """How many records of each kind have reached the ledger."""
        return {kind: queue.written for kind, queue in self._queues.items()}

    def dropped(self) -> dict[Kind, int]:
        """How many found no room, or were not what the ledger takes."""
        return {kind: queue.dropped for kind, queue in self._queues.items()}

    def waiting(self) -> dict[Kind, int]:
        """How many records of each kind are still to be written."""
        return {kind: len(queue.records) for kind, queue in self._queues.items()}

    @property
    def away(self) -> bool:
        """Whether the ledger could not be written the last time that it was tried."""
        return self._not_before > 0

    async def close(self) -> None:
        """Write what waits, and end; what cannot be written any more is dropped and counted."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._due():
                    waiting = any(queue.records for queue in self._queues.values())
                    rest = self._next - time.monotonic()
                    self._changed.wait(max(0.0, rest) if waiting else None)
                calls, closing = list(self._calls), self._closing
                self._calls.clear()
            if closing or time.monotonic() >= self._not_before:
                self._flush()
            for future, call in calls:
                answer(future, call)
            if closing:
                break
        for queue in self._queues.values():
            queue.dropped += len(queue.records)
            queue.records.clear()

    def _due(self) -> bool:
        if self._closing or self._calls:
            return True
        now, longest = time.monotonic(), max(len(one.records) for one in self._queues.values())
        return now >= self._not_before and longest > 0 and (now >= self._next or longest >= AT_ONCE)

    def _flush(self) -> None:
        """Write all that waits now, or as much as can be."""
        self._next = time.monotonic() + EVERY_SECONDS
        try:
            for kind, queue in self._queues.items():
                self._write(kind, queue)
        except Unavailable as error:
            if not self._not_before:
                log.warning("%s; records wait, and are dropped when there is no room", error)
            self._next = self._not_before = time.monotonic() + RETRY_SECONDS
        else:
            self._not_before = 0.0

    def _write(self, kind: Kind, queue: Queue) -> None:
        rest = len(queue.records)
        while rest > 0:
            with self._changed:
                batch = list(islice(queue.records, min(rest, AT_ONCE)))
            written = 0
            try:
                self._add[kind](batch)
                written = len(batch)
            except Unavailable:
                raise
            except Exception:
                log.exception("records that the ledger does not take", extra={"kind": kind})
            with self._changed:
                queue.remove(len(batch))
                queue.written += written
                queue.dropped += len(batch) - written
            rest -= len(batch)


def answer(future: Future[Any], call: Callable[[], Any]) -> None:
    """Run a call that somebody waits for."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call())
    except BaseException as error:  # noqa: BLE001 - whoever waits is told, whatever it is
        future.set_exception(error)
