"""Which queued requests run together, and when. Pure: no I/O, no threads; the caller passes the time in.

    add -> [bucket: first come, first served] -> next_batch -> run elsewhere
           \\-> cancel, expire

Back-pressure batching without a timer: an idle engine takes what is queued at once; while it is busy the queue grows and
becomes the next batch. Only requests of one bucket (equal shapes, or one padded length) share a batch; batches count rows.
"""

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from service.errors import QueueFull

Key = tuple[int, int]
"""Who asked (a connection) and which of its requests."""


@dataclass(slots=True, eq=False)
class Entry:
    """One request. `live` until nobody waits for it any more. `bucket` decides with whom it may share a batch; `payload` is the caller's own."""

    key: Key
    bucket: Hashable
    rows: int
    arrived: float
    deadline: float
    payload: Any = None
    live: bool = True


class Scheduler:
    """The queue of one engine.

    `max_batch_rows` bounds a batch (a single larger request runs alone, whole), `max_queue_rows` the
    queue. Not thread-safe: it belongs to the engine's event loop.
    """

    def __init__(self, max_batch_rows: int, max_queue_rows: int) -> None:
        self.max_batch_rows = max_batch_rows
        self.max_queue_rows = max_queue_rows
        self.queued_rows = 0
        self._buckets: dict[Hashable, deque[Entry]] = {}
        self._entries: dict[Key, Entry] = {}
        self._hold = 0
        self._rows_per_second: float | None = None

    def add(self, entry: Entry) -> None:
        """Queue `entry`; QueueFull, with the time after which there should be room, when it exceeds the bound."""
        if self.queued_rows + entry.rows > self.max_queue_rows and self.queued_rows:
            raise QueueFull(
                f"the queue holds {self.queued_rows} rows of at most {self.max_queue_rows}, "
                f"{entry.rows} more do not fit",
                self.drain_seconds(),
            )
        self._entries[entry.key] = entry
        self._buckets.setdefault(entry.bucket, deque()).append(entry)
        self.queued_rows += entry.rows

    def cancel(self, key: Key) -> bool:
        """Take a request out that has not started. False when there is none: it runs already, or never came."""
        entry = self._entries.get(key)
        if entry is None:
            return False
        entry.live = False
        self._forget(entry)
        return True

    def next_batch(self, now: float) -> tuple[list[Entry], list[Entry]]:
        """(what to run now, what expired while it waited); the first is empty when nothing is to be run.

        The bucket whose head has waited longest goes first, so none starves.
        """
        expired = self._expire(now)
        if self.queued_rows < self._hold:
            return [], expired
        self._hold = 0
        heads = [(queue[0].arrived, bucket) for bucket, queue in self._buckets.items()]
        if not heads:
            return [], expired
        queue = self._buckets[min(heads, key=lambda head: head[0])[1]]
        batch: list[Entry] = []
        rows = 0
        while queue and (not batch or rows + queue[0].rows <= self.max_batch_rows):
            entry = queue.popleft()
            rows += entry.rows
            batch.append(entry)
            self._forget(entry)
        return batch, expired

    def waiting(self) -> list[Key]:
        """The keys of everything queued."""
        return list(self._entries)

    def hold(self, rows: int) -> None:
        """For tests: start nothing until `rows` rows are queued."""
        self._hold = rows

    def ran(self, rows: int, seconds: float) -> None:
        """Learn from a finished batch how fast the queue drains."""
        rate = rows / max(seconds, 1e-6)
        seen = self._rows_per_second
        self._rows_per_second = rate if seen is None else 0.9 * seen + 0.1 * rate

    def drain_seconds(self) -> float:
        """How long what is queued now will take, from the measured rate; 1 s before anything was measured."""
        return self.queued_rows / self._rows_per_second if self._rows_per_second else 1.0

    def _expire(self, now: float) -> list[Entry]:
        expired = [entry for entry in self._entries.values() if entry.deadline <= now]
        for entry in expired:
            entry.live = False
            self._forget(entry)
        return expired

    def _forget(self, entry: Entry) -> None:
        del self._entries[entry.key]
        self.queued_rows -= entry.rows
        self._skip_dead(entry.bucket)

    def _skip_dead(self, bucket: Hashable) -> None:
        """Keep the invariant that a bucket's head is live and that empty buckets are gone."""
        queue = self._buckets.get(bucket)
        while queue and not queue[0].live:
            queue.popleft()
        if queue is not None and not queue:
            del self._buckets[bucket]
