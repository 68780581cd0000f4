"""How long a batch takes: measured when a version is loaded, learned from every run after that. Pure: no clock, no I/O.

curve (bucket -> rows -> seconds)  ->  knee: the rows that a batch of the bucket should have at most
learn(bucket, rows, seconds)       ->  seconds(bucket, rows): what the next such batch is expected to take
"""

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

GOOD_ENOUGH = 0.95
"""Share of the best throughput at which a larger batch is no longer worth its latency."""
WEIGHT = 0.2
"""Weight of the newest run in a cell."""
FADE_SECONDS = 10.0
"""The time in which half of what was slower than the fastest run is forgotten, when nothing ran meanwhile."""

MOST_LEARNED = 128
"""Buckets that are remembered beside those measured at load: callers choose shapes, and may choose many."""


class Bucket(NamedTuple):
    """With whom a request may share a batch. `length`: what rows are padded to, 1 where nothing is padded; `shapes`: where shapes must agree."""

    length: int
    shapes: tuple[tuple[int, ...], ...] = ()


def elements(bucket: Bucket) -> int:
    """Numbers in one row, where shapes tell; else 1."""
    return sum(map(math.prod, bucket.shapes)) if bucket.shapes else 1


Curve = Mapping[Bucket, Mapping[int, float]]
"""Seconds of one batch, by bucket and rows."""


def knee(seconds: Mapping[int, float]) -> int:
    """The smallest number of rows with at least 95 % of the best throughput, given seconds by rows."""
    best = max(rows / taken for rows, taken in seconds.items())
    return min(rows for rows, taken in seconds.items() if rows / taken >= GOOD_ENOUGH * best)


@dataclass(slots=True)
class Cell:
    """One entry of the table. `recent` follows the runs, `fastest` never rises."""

    recent: float
    fastest: float
    at: float


class LatencyTable:
    """Expected seconds of a batch by bucket and rows.

    An estimate that ran too high would refuse every request that could have corrected it; so what is not
    confirmed by new runs fades towards the fastest run ever seen.
    """

    def __init__(self, curve: Curve | None = None) -> None:
        self._cells: dict[Bucket, dict[int, Cell]] = {
            bucket: {rows: Cell(s, s, float("-inf")) for rows, s in sizes.items()}
            for bucket, sizes in (curve or {}).items()
        }
        self._sizes = {bucket: sorted(cells) for bucket, cells in self._cells.items()}
        self._learned: dict[Bucket, None] = {}
        """Those that were not measured; whichever ran last is last."""

    def learn(self, bucket: Bucket, rows: int, seconds: float, now: float) -> None:
        """A batch of `rows` rows took `seconds` and ended at `now`."""
        cells = self._cells.get(bucket)
        if cells is None or bucket in self._learned:
            cells = self._remember(bucket)
        cell = cells.get(rows)
        if cell is None:
            cells[rows] = Cell(seconds, seconds, now)
            self._sizes[bucket] = sorted(cells)
            return
        cell.recent += WEIGHT * (seconds - cell.recent)
        cell.fastest = min(cell.fastest, seconds)
        cell.at = now

    def _remember(self, bucket: Bucket) -> dict[int, Cell]:
        """The cells of a bucket that was not measured. Beyond the limit the one that has not run for longest is forgotten."""
        self._learned.pop(bucket, None)
        self._learned[bucket] = None
        if len(self._learned) > MOST_LEARNED:
            oldest = next(iter(self._learned))
            del self._learned[oldest], self._cells[oldest], self._sizes[oldest]
        return self._cells.setdefault(bucket, {})

    def seconds(self, bucket: Bucket, rows: int, now: float) -> float:
        """What a batch is expected to take; 0 where nothing like it has run, for nobody is refused on a guess."""
        cells = self._cells.get(bucket)
        if cells is None:
            return self._from_neighbour(bucket, rows, now)
        if rows in cells:
            return faded(cells[rows], now)
        sizes = self._sizes[bucket]
        at = bisect_left(sizes, rows)
        above = sizes[min(at, len(sizes) - 1)]
        below = sizes[max(at - 1, 0)]
        high, low = faded(cells[above], now), faded(cells[below], now)
        if above == below:  # beyond either end of what has run: in proportion
            return high * rows / above
        return low + (high - low) * (rows - below) / (above - below)

    def _from_neighbour(self, bucket: Bucket, rows: int, now: float) -> float:
        alike = [known for known in self._cells if known.shapes == bucket.shapes]
        if not alike:
            return 0.0
        nearest = min(alike, key=lambda known: abs(known.length - bucket.length))
        return self.seconds(nearest, rows, now) * bucket.length / nearest.length


def faded(cell: Cell, now: float) -> float:
    """The cell's estimate at `now`. A measurement from the load, before the first run, has faded entirely."""
    age = max(0.0, now - cell.at)
    trust: float = 0.5 ** (age / FADE_SECONDS)
    return cell.fastest + (cell.recent - cell.fastest) * trust


def label(bucket: Bucket) -> str:
    """A bucket as a report names it: the padded length, or the rows' shapes."""
    if not bucket.shapes:
        return str(bucket.length)
    return ", ".join("x".join(map(str, shape)) or "scalar" for shape in bucket.shapes)
