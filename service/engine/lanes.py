"""The queue of one bucket: by priority, then deadline, then arrival. Pure; it must not know batches or time.

Removed entries stay in the heaps, marked as gone, until they come to the front: taking one out of the middle would cost more.
"""

from collections import deque
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

from service.engine.latency import Bucket

Key = tuple[int, int]
"""Who asked (a connection) and which of its requests."""

HIGH, NORMAL, LOW = 0, 1, 2
PRIORITIES = (HIGH, NORMAL, LOW)


@dataclass(slots=True, eq=False)
class Entry:
    """One request of `rows` rows. `bucket` decides with whom it may share a batch; `payload` is the caller's own.

    Times are in seconds of one clock. `queued` until it is taken out; `live` until nobody waits for it any more; `cost`: seconds of a
    batch that it is expected to take.
    """

    key: Key
    bucket: Bucket
    rows: int
    arrived: float
    deadline: float
    priority: int = NORMAL
    payload: Any = None
    queued: bool = False
    live: bool = True
    cost: float = 0.0

    @property
    def rank(self) -> tuple[int, float]:
        """What goes first."""
        return self.priority, self.deadline


class Lane:
    """The live entries of one bucket. Properties that name an entry need at least one; `rows` says whether there is.

    `row_seconds`, `batch_seconds`: what one row, and a full batch, were expected to take when this was last asked.
    """

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.rows = 0
        self.row_seconds = 0.0
        self.batch_seconds = 0.0
        self._heaps: list[list[tuple[float, int, Entry]]] = [[] for _ in PRIORITIES]
        self._arrivals: deque[Entry] = deque()

    def add(self, entry: Entry, order: int) -> None:
        """Queue `entry`; `order` decides between equal deadlines."""
        entry.queued = True
        heappush(self._heaps[entry.priority], (entry.deadline, order, entry))
        self._arrivals.append(entry)
        self.rows += entry.rows

    def remove(self, entry: Entry) -> None:
        """Take `entry` out."""
        entry.queued = False
        self.rows -= entry.rows

    def first(self, priority: int) -> Entry | None:
        """The entry of `priority` with the earliest deadline."""
        heap = self._heaps[priority]
        while heap and not heap[0][2].queued:
            heappop(heap)
        return heap[0][2] if heap else None

    def firsts(self) -> list[Entry]:
        """The first entry of every priority that has one."""
        return [entry for entry in map(self.first, PRIORITIES) if entry is not None]

    @property
    def next(self) -> Entry:
        """Highest priority, then earliest deadline, then earliest arrival."""
        for priority in PRIORITIES:
            if (entry := self.first(priority)) is not None:
                return entry
        raise IndexError("the lane is empty")

    @property
    def priority(self) -> int:
        """The highest priority that waits here."""
        return self.next.priority

    @property
    def deadline(self) -> float:
        """The earliest deadline that waits here."""
        return min(entry.deadline for entry in self.firsts())

    @property
    def oldest(self) -> Entry:
        """What has waited longest."""
        while not self._arrivals[0].queued:
            self._arrivals.popleft()
        return self._arrivals[0]
