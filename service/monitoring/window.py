"""The newest samples of one version, put together from blocks. Pure: no clock, no store.

    blocks of all machines -> one order, the same everywhere -> where a window ends -> counts of the newest n samples

Counts add up, so it does not matter which process or machine has seen a sample; the order (end, machine, number) says which are the newest.
"""

import math
from bisect import bisect_right, insort
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from service.ledger.records import Block

Place = tuple[float, str, int]
"""Where a block stands among all: when it ended, whose it is, and its number there."""


class Counted(NamedTuple):
    """What the newest `samples` add up to, and from when to when they are."""

    samples: int
    counts: np.ndarray
    sums: dict[str, float]
    begun_at: float
    ended_at: float


class Window:
    """The blocks of one version and profile. `sizes`: the windows that may be asked for; the largest is the one that is wanted."""

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = sorted(sizes)
        self._blocks: list[Block] = []
        self._known: set[tuple[str, int]] = set()
        self.judged: Place | None = None
        """The block at which the last evaluation took place."""
        self.judged_size = 0

    @property
    def samples(self) -> int:
        """How many samples there are, up to about twice the largest window."""
        return sum(block.samples for block in self._blocks)

    def add(self, block: Block) -> bool:
        """Take a block in, wherever it belongs; False when it is here already, or too old to count."""
        key = (block.machine, block.number)
        if key in self._known:
            return False
        insort(self._blocks, block, key=place)
        self._known.add(key)
        self._forget()
        return key in self._known

    def due(self, settled: float = math.inf) -> Iterator[tuple[int, Place]]:
        """Every window that has to be evaluated: its size, and the block that it ends with. Blocks that ended after `settled` wait.

        One is due whenever half a window of samples is new, or the first larger one is full: while there are few samples windows are small.
        """
        new = samples = 0
        for block in self._blocks:
            samples += block.samples
            if self.judged is not None and place(block) <= self.judged:
                continue
            if block.ended_at > settled:
                return
            new += block.samples
            size = self.size(samples)
            if size is not None and (size > self.judged_size or 2 * new >= size):
                self.judged, self.judged_size, new = place(block), size, 0
                yield size, self.judged

    def size(self, samples: int) -> int | None:
        """The largest window that `samples` fill."""
        return max((size for size in self._sizes if size <= samples), default=None)

    def newest(self, samples: int, until: Place | None = None) -> Counted | None:
        """The sum of the newest blocks, up to the one at `until`, that hold `samples`; None while there are fewer."""
        end = len(self._blocks)
        if until is not None:
            end = bisect_right(self._blocks, until, key=place)
        begin, found = end, 0
        while begin and found < samples:
            begin -= 1
            found += self._blocks[begin].samples
        return None if found < samples else counted(self._blocks[begin:end])

    def _forget(self) -> None:
        """Nothing older than a window before the last evaluation, and the largest window at least."""
        most, kept = 2 * self._sizes[-1], self.samples
        while self._blocks:
            oldest = self._blocks[0]
            pending = self.judged is None or place(oldest) > self.judged
            if pending or kept - oldest.samples < most:
                return
            kept -= oldest.samples
            del self._blocks[0]
            self._known.discard((oldest.machine, oldest.number))


def place(block: Block) -> Place:
    """Where `block` stands among all."""
    return block.ended_at, block.machine, block.number


def counted(blocks: Sequence[Block]) -> Counted:
    """What blocks add up to, to the last bit the same in any order."""
    each = np.stack([np.frombuffer(one.counts, "<i4") for one in blocks])
    counts: np.ndarray = each.sum(axis=0, dtype=np.int64)
    names = sorted({name for one in blocks for name in one.sums})
    return Counted(
        sum(one.samples for one in blocks),
        counts,
        {name: math.fsum(one.sums.get(name, 0.0) for one in blocks) for name in names},
        min(one.begun_at for one in blocks),
        max(one.ended_at for one in blocks),
    )
