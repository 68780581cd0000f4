"""Which queued requests run together, and when. Pure: no I/O, no threads; the caller passes the time in.

    add -> lane of its bucket, ordered by priority, then deadline -> next_batch -> run elsewhere -> finished
           \\-> cancel, expire

Back-pressure batching without a timer: an idle engine takes what is queued at once; while it is busy the queue grows and
becomes the next batch. Only requests of one bucket (equal shapes, or one padded length) share a batch; batches count rows.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from service.engine.lanes import Entry, Key, Lane
from service.engine.latency import Bucket, LatencyTable, elements, label
from service.errors import DeadlineUnmeetable, QueueFull

AGEING_SECONDS = 0.5
"""Who has waited this long goes before higher priorities in every second batch."""
RESTORE_AFTER = 64
"""Full batches without an error after which a cap that memory has halved grows by one row."""
MOST_LOWERED = 64
"""Buckets whose caps memory has lowered and that are remembered: callers choose shapes, and may choose many."""
OTHER = "other"
"""What stands for every bucket that was not measured, where buckets are named."""
UNKNOWN_SECONDS = 1.0
"""When to come back, before anything has been measured."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds the queue and its batches.

    `instances`: batches that run at a time. `max_queue_rows` bounds what waits; `max_batch_tokens` bounds
    rows x padded length; `max_delay`: seconds that an idle engine waits for company, from the first row on.
    """

    instances: int = 1
    max_queue_rows: int = 1024
    max_batch_tokens: int = 1 << 30
    max_delay: float = 0.0


@dataclass(slots=True, eq=False)
class Batch:
    """What runs together. `expected` is when it should end."""

    bucket: Bucket
    entries: list[Entry]
    rows: int
    started: float
    expected: float


@dataclass(slots=True)
class Lowered:
    """A cap that memory has lowered. `full`: full batches without an error since it last changed."""

    cap: int
    full: int = 0


class Scheduler:
    """The queue of one engine. Not thread-safe: the engine holds a lock while it asks.

    `caps`: most rows in a batch of a bucket; a bucket that it does not name takes the cap of the nearest
    length. A single larger request runs alone, whole.
    """

    def __init__(self, limits: Limits, caps: Mapping[Bucket, int], latency: LatencyTable) -> None:
        self.limits = limits
        self.latency = latency
        self.queued_rows = 0
        self._ceilings = dict(caps)
        self._lowered: dict[Bucket, Lowered] = {}
        self._lanes: dict[Bucket, Lane] = {}
        self._entries: dict[Key, Entry] = {}
        self._queued_seconds = 0.0
        self._running: set[Batch] = set()
        self._order = itertools.count()
        self._aged_last = False
        self._hold = 0

    # -- in

    def add(self, entry: Entry, now: float) -> None:
        """Queue `entry`.

        Raises QueueFull when it exceeds the bound and DeadlineUnmeetable when it would be answered too late,
        both with the seconds after which it is worth asking again. Nothing was accepted then.
        """
        if self.queued_rows and self.queued_rows + entry.rows > self.limits.max_queue_rows:
            raise QueueFull(
                f"the queue holds {self.queued_rows} rows of at most {self.limits.max_queue_rows}, "
                f"{entry.rows} more do not fit",
                self._seconds_until_room(entry.rows, now),
            )
        lane = self._lanes.get(entry.bucket)
        if lane is None:
            lane = Lane(entry.bucket)
            self._price(lane, now)
        entry.cost = entry.rows * lane.row_seconds
        # Most deadlines are far away: only a near one is worth an exact look at the table.
        if now + self.drain_seconds(now) + max(lane.batch_seconds, entry.cost) > entry.deadline:
            self._admit(entry, now)
        self._lanes[entry.bucket] = lane
        lane.add(entry, next(self._order))
        self._entries[entry.key] = entry
        self.queued_rows += entry.rows
        self._queued_seconds += entry.cost

    def cancel(self, key: Key) -> bool:
        """Take a request out that has not started. False when there is none: it runs already, or never came."""
        entry = self._entries.get(key)
        if entry is None:
            return False
        self._drop(entry)
        entry.live = False
        return True

    def hold(self, requests: int) -> None:
        """For tests: start nothing until `requests` requests are queued, so that a batch's members are certain."""
        self._hold = requests

    # -- out

    def expire(self, now: float) -> list[Entry]:
        """Take out what cannot be answered in time any more, also if it started now."""
        expired = []
        for lane in list(self._lanes.values()):
            for first in lane.firsts():
                entry: Entry | None = first
                while entry is not None and self._late(entry, now):
                    self._drop(entry)
                    expired.append(entry)
                    entry = lane.first(entry.priority)
        return expired

    def next_batch(self, now: float) -> Batch | None:
        """What to run now; None when every instance is busy or nothing is to be started yet."""
        if not self.idle or not self._entries or len(self._entries) < self._hold:
            return None
        self._hold = 0
        lanes = [lane for lane in self._lanes.values() if self._due(lane, now)]
        if not lanes:
            return None
        oldest = min(lanes, key=lambda lane: lane.oldest.arrived)
        aged = not self._aged_last and now - oldest.oldest.arrived >= AGEING_SECONDS
        self._aged_last = aged
        lane = oldest if aged else self._choose(lanes, now)
        return self._start(lane, aged, now)

    def finished(self, batch: Batch, now: float) -> None:
        """`batch` has run: its instance is free, and its time is learned."""
        self._running.discard(batch)
        self.latency.learn(batch.bucket, batch.rows, now - batch.started, now)
        self._restore(batch)

    def failed(self, batch: Batch) -> None:
        """`batch` has run, and failed in part: its instance is free, its time says nothing."""
        self._running.discard(batch)

    def out_of_memory(self, bucket: Bucket, rows: int) -> None:
        """`rows` rows of `bucket` did not fit into memory: from now on at most half of them."""
        cap = max(1, min(self.cap(bucket), rows // 2))
        self._lowered.pop(bucket, None)
        self._lowered[bucket] = Lowered(cap)
        if len(self._lowered) > MOST_LOWERED:
            del self._lowered[next(iter(self._lowered))]

    # -- seen from outside

    def waiting(self) -> list[Key]:
        """The keys of everything queued."""
        return list(self._entries)

    def running(self) -> list[Batch]:
        """What was started and has not ended."""
        return list(self._running)

    @property
    def idle(self) -> bool:
        """Whether an instance is free."""
        return len(self._running) < self.limits.instances

    def cap(self, bucket: Bucket) -> int:
        """Most rows in a batch of `bucket` as things stand."""
        lowered = self._lowered.get(bucket)
        cap = self._ceiling(bucket) if lowered is None else lowered.cap
        return max(1, min(cap, self.limits.max_batch_tokens // bucket.length))

    def caps(self) -> dict[str, int]:
        """The cap of every bucket that was measured, by its name; those of others that memory has lowered count as one."""
        caps = {label(bucket): self.cap(bucket) for bucket in self._ceilings}
        others = [one.cap for bucket, one in self._lowered.items() if bucket not in self._ceilings]
        return caps | ({OTHER: min(others)} if others else {})

    def wake_at(self, now: float) -> float | None:
        """When to look again although nothing came or ended: the next deadline, or the end of a wait for company."""
        times = [first.deadline for lane in self._lanes.values() for first in lane.firsts()]
        if self.limits.max_delay and self.idle and not self._hold:
            # Those that are due by now, too: time has passed since the last look.
            times += [self._due_at(lane, now) for lane in self._lanes.values()]
        return min(times, default=None)

    def drain_seconds(self, now: float) -> float:
        """How long everything queued and running will take, by the table."""
        return (self._running_seconds(now) + self._queued_seconds) / self.limits.instances

    # -- how it decides

    def _admit(self, entry: Entry, now: float) -> None:
        """Refuse what would be answered too late, as far as the table can tell."""
        own = self.latency.seconds(entry.bucket, entry.rows, now)
        if now + self.drain_seconds(now) + own <= entry.deadline:
            return
        running = 0.0 if self.idle else self._running_seconds(now)
        ahead = sum(other.cost for other in self._entries.values() if other.rank <= entry.rank)
        answered = now + (running + ahead) / self.limits.instances + own
        if answered > entry.deadline:
            raise DeadlineUnmeetable(
                f"the answer is expected in {1000 * (answered - now):.1f} ms, "
                f"{1000 * (entry.deadline - now):.1f} ms were given",
                answered - entry.deadline,
            )

    def _due(self, lane: Lane, now: float) -> bool:
        """Whether a lane has waited long enough for company: always, without `max_delay`."""
        return not self.limits.max_delay or self._due_at(lane, now) <= now

    def _due_at(self, lane: Lane, now: float) -> float:
        """When a lane's wait for company ends: it is full, it has waited long enough, or its first deadline is near."""
        if lane.rows >= self.cap(lane.bucket):
            return now
        rows = min(lane.rows + 1, self.cap(lane.bucket))
        last_call = lane.deadline - self.latency.seconds(lane.bucket, rows, now)
        return min(lane.oldest.arrived + self.limits.max_delay, last_call)

    def _choose(self, lanes: list[Lane], now: float) -> Lane:
        """Of the lanes with the highest priority the one that cannot wait for another batch, or else has waited longest."""
        if len(lanes) == 1:
            return lanes[0]
        highest = min(lane.priority for lane in lanes)
        equals = [lane for lane in lanes if lane.priority == highest]
        taking = {lane: self._seconds(lane, now) for lane in equals}
        horizon = now + max(taking.values())
        forced = [lane for lane in equals if lane.deadline - taking[lane] <= horizon]
        if forced:
            return min(forced, key=lambda lane: lane.deadline - taking[lane])
        return min(equals, key=lambda lane: lane.oldest.arrived)

    def _seconds(self, lane: Lane, now: float) -> float:
        """What the lane's next batch should take."""
        return self.latency.seconds(lane.bucket, min(lane.rows, self.cap(lane.bucket)), now)

    def _start(self, lane: Lane, aged: bool, now: float) -> Batch:
        bucket, cap = lane.bucket, self.cap(lane.bucket)
        deadline = lane.deadline
        tight = now + self.latency.seconds(bucket, cap, now) > deadline
        entries: list[Entry] = []
        rows = 0
        for entry in self._in_order(lane, aged):
            if entries and rows + entry.rows > cap:
                break
            if entries and tight:
                together = now + self.latency.seconds(bucket, rows + entry.rows, now)
                if together > min(deadline, entry.deadline):
                    break
            self._drop(entry)
            entries.append(entry)
            rows += entry.rows
        self._price(lane, now)
        expected = now + self.latency.seconds(bucket, rows, now)
        batch = Batch(bucket, entries, rows, now, expected)
        self._running.add(batch)
        return batch

    def _in_order(self, lane: Lane, aged: bool) -> Iterator[Entry]:
        """A lane's entries as they should run; each is dropped from it before the next is asked for."""
        if aged:
            yield lane.oldest
        while lane.rows:
            yield lane.next

    def _late(self, entry: Entry, now: float) -> bool:
        return entry.deadline < now + self.latency.seconds(entry.bucket, entry.rows, now)

    def _restore(self, batch: Batch) -> None:
        """Let a cap that memory has lowered grow back slowly."""
        lowered = self._lowered.get(batch.bucket)
        if lowered is None or batch.rows < self.cap(batch.bucket):
            return
        lowered.full += 1
        if lowered.full >= RESTORE_AFTER:
            lowered.full = 0
            lowered.cap += 1
        if lowered.cap >= self._ceiling(batch.bucket):
            del self._lowered[batch.bucket]

    def _ceiling(self, bucket: Bucket) -> int:
        """The cap as it was measured, or for rows that were not: that of the nearest length, with no more elements in a batch.

        Nothing is kept of it: callers choose shapes. A row alone is always right where nothing was measured.
        """
        if (known := self._ceilings.get(bucket)) is not None:
            return known
        if not self._ceilings:
            return 1
        nearest = min(self._ceilings, key=lambda other: abs(other.length - bucket.length))
        cap = self._ceilings[nearest]
        return max(1, min(cap, cap * elements(nearest) // max(1, elements(bucket))))

    def _running_seconds(self, now: float) -> float:
        """What is left of the batches that run."""
        return sum(max(0.0, batch.expected - now) for batch in self._running)

    def _price(self, lane: Lane, now: float) -> None:
        """Look up what the lane's rows cost: once a batch, not once a request."""
        cap = self.cap(lane.bucket)
        lane.batch_seconds = self.latency.seconds(lane.bucket, cap, now)
        lane.row_seconds = lane.batch_seconds / cap

    def _seconds_until_room(self, rows: int, now: float) -> float:
        excess = self.queued_rows + rows - self.limits.max_queue_rows
        share = min(1.0, excess / self.queued_rows)
        return share * self.drain_seconds(now) or UNKNOWN_SECONDS

    def _drop(self, entry: Entry) -> None:
        del self._entries[entry.key]
        self.queued_rows -= entry.rows
        self._queued_seconds = self._queued_seconds - entry.cost if self._entries else 0.0
        lane = self._lanes[entry.bucket]
        lane.remove(entry)
        if not lane.rows:
            del self._lanes[entry.bucket]
