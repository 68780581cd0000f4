"""The newest samples of one version, put together from blocks. Pure: no clock, no store.

    blocks of all machines, in one order -> where a window ends -> counts of the newest n samples

Counts add up, so it does not matter which process or machine has seen a sample. The newest blocks are those that were added last. Machines that
share a ledger add them as they arrived there: who is slow, or has a wrong clock, comes to the same windows as all others.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from service.ledger.records import Block


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
        self.samples = 0
        """How many there are, up to about twice the largest window."""
        self._sizes = sorted(sizes)
        self._blocks: list[Block] = []
        self._known: set[tuple[str, int]] = set()
        self._judged = 0
        """Blocks up to the one at which the last evaluation took place."""
        self._judged_size = 0

    @property
    def blocks(self) -> list[Block]:
        """All that are there, in their order."""
        return list(self._blocks)

    def add(self, block: Block) -> None:
        """Take a block in as the newest, unless it is here already."""
        key = (block.machine, block.number)
        if key in self._known:
            return
        self._blocks.append(block)
        self._known.add(key)
        self.samples += block.samples
        self._forget()

    def resume(self, at: float, size: int) -> bool:
        """Go on from the last evaluation, one of `size` samples at the block that ended at `at`; whether all of that window is here."""
        ended = [block.ended_at for block in self._blocks]
        exact = [end for end, one in enumerate(ended, 1) if one == at]
        before = [end for end, one in enumerate(ended, 1) if one < at]
        self._judged, self._judged_size = (exact or before or [0])[-1], size
        return bool(exact) and self.last() is not None

    def last(self) -> Counted | None:
        """The window of the last evaluation; None where its blocks are not here."""
        return self.newest(self._judged_size, self._judged) if self._judged else None

    def due(self) -> Iterator[tuple[Block, Counted]]:
        """Every window that has to be evaluated: the block that it ends with, and what it adds up to.

        One is due whenever half a window of samples is new, or the first larger one is full: while there are few samples windows are small.
        """
        new = samples = 0
        for end, block in enumerate(self._blocks, 1):
            samples += block.samples
            if end <= self._judged:
                continue
            new += block.samples
            size = self.size(samples)
            if size is not None and (size > self._judged_size or 2 * new >= size):
                self._judged, self._judged_size, new = end, size, 0
                if (found := self.newest(size, end)) is not None:
                    yield block, found

    def size(self, samples: int) -> int | None:
        """The largest window that `samples` fill."""
        return max((size for size in self._sizes if size <= samples), default=None)

    def newest(self, samples: int, end: int | None = None) -> Counted | None:
        """The sum of the newest blocks, of the first `end` of them, that hold `samples`; None while there are fewer."""
        blocks = self._blocks[:end]
        begin, found = len(blocks), 0
        while begin and found < samples:
            begin -= 1
            found += blocks[begin].samples
        return None if found < samples else counted(blocks[begin:])

    def _forget(self) -> None:
        """What no window will ask for: older than a largest one before the last evaluation, and than two of them altogether."""
        most = self._sizes[-1]
        before = sum(block.samples for block in self._blocks[: self._judged])
        while before - (oldest := self._blocks[0]).samples >= most:
            if self.samples - oldest.samples < 2 * most:
                return
            self._blocks.pop(0)
            self._known.discard((oldest.machine, oldest.number))
            self.samples -= oldest.samples
            before -= oldest.samples
            self._judged -= 1


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
