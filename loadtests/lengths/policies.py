"""Ways to make batches of rows whose lengths differ, and rows of chosen lengths. Pure; it must not know who runs them.

lengths -> [Planned(which rows, padded length)] -> padded tensors
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from service.engine import layout

Row = dict[str, np.ndarray]


class Planned(NamedTuple):
    """One batch: the numbers of its rows, and the length that they are padded to."""

    rows: list[int]
    length: int


def one_at_a_time(lengths: Sequence[int]) -> list[Planned]:
    """No batches: nothing is padded."""
    return [Planned([number], length) for number, length in enumerate(lengths)]


def in_order(lengths: Sequence[int], most: int) -> list[Planned]:
    """As rows arrive, padded to the longest of the batch: what servers do that do not know lengths."""
    return longest(range(len(lengths)), lengths, most)


def sorted_first(lengths: Sequence[int], most: int) -> list[Planned]:
    """As `in_order`, after sorting all rows by length: nobody who serves can, for they have not come yet."""
    return longest(sorted(range(len(lengths)), key=lengths.__getitem__), lengths, most)


def longest(order: Sequence[int], lengths: Sequence[int], most: int) -> list[Planned]:
    """Batches of consecutive rows of `order`."""
    found = []
    for start in range(0, len(order), most):
        rows = list(order[start : start + most])
        found.append(Planned(rows, max(lengths[number] for number in rows)))
    return found


def bucketed(
    lengths: Sequence[int], buckets: Sequence[int], caps: Mapping[int, int]
) -> list[Planned]:
    """Rows of one bucket together, padded to its length; a bucket without a cap takes that of the nearest, as in the engine."""
    by_bucket: dict[int, list[int]] = {}
    for number, length in enumerate(lengths):
        bucket = next((one for one in sorted(buckets) if one >= length), length)
        by_bucket.setdefault(bucket, []).append(number)
    found = []
    for bucket, rows in sorted(by_bucket.items()):
        cap = caps[min(caps, key=lambda known: (abs(known - bucket), known))]
        starts = range(0, len(rows), cap)
        found += [Planned(rows[start : start + cap], bucket) for start in starts]
    return found


def waste(plan: Sequence[Planned], lengths: Sequence[int]) -> float:
    """Elements after padding over elements before."""
    padded = sum(len(one.rows) * one.length for one in plan)
    return padded / sum(lengths[number] for one in plan for number in one.rows)


def padded(rows: Sequence[Row], length: int) -> Row:
    """Rows [1, length of its own] as one batch [rows, length], zeros behind the shorter."""
    return {name: layout.pad([row[name] for row in rows], 1, length, 0) for name in rows[0]}


def uniform(count: int, low: int, high: int, seed: int) -> list[int]:
    """Lengths drawn uniformly, always the same ones."""
    found: list[int] = np.random.default_rng(seed).integers(low, high + 1, count).tolist()
    return found


def recut(rows: Sequence[Row], ids: str, lengths: Sequence[int]) -> list[Row]:
    """Rows of these lengths, cut from the rows' tokens one after the other; each keeps the first and the last token of its kind.

    Every other input becomes ones, as the mask of a row without padding is.
    """
    inner = np.concatenate([row[ids][0, 1:-1] for row in rows])
    first, last = rows[0][ids][:, :1], rows[0][ids][:, -1:]
    made, at = [], 0
    for length in lengths:
        part = np.take(inner, np.arange(at, at + length - 2), mode="wrap")[None]
        at += length - 2
        tokens = np.concatenate([first, part, last], axis=1)
        ones = {name: np.ones_like(tokens, dtype=array.dtype) for name, array in rows[0].items()}
        made.append(ones | {ids: tokens})
    return made
