"""Rows that a model met while it served, with the labels that came back: kept in one file, and mixed into what it trains on. numpy only.

    rows without a batch axis + labels -> write -> traffic.npz -> read -> Replay(base rows, traffic) -> batches

A file holds an array per input: rows of equal shape stacked, rows that differ in length one behind the other, with their lengths.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from models import bundle
from models.errors import DataError
from models.tasks import Row

Batch = tuple[dict[str, np.ndarray], np.ndarray]
ROWS, LENGTHS, LABELS = "rows.", "lengths.", "labels"


class Examples(Protocol):
    """What recipes give: labelled rows that can be gone through in batches."""

    def __len__(self) -> int: ...

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        """All rows in batches; with `rng` shuffled."""
        ...


class Traffic(NamedTuple):
    """Rows as the model's inputs take them, without a batch axis, and labels int64 [rows]."""

    rows: list[Row]
    labels: np.ndarray


def encoded(traffic: Traffic) -> bytes:
    """The rows as an npz file. The same rows give the same bytes."""
    arrays: dict[str, np.ndarray] = {LABELS: np.asarray(traffic.labels, dtype=np.int64)}
    for name in traffic.rows[0] if traffic.rows else ():
        column = [row[name] for row in traffic.rows]
        if len({one.shape for one in column}) == 1:
            arrays[ROWS + name] = np.stack(column)
        else:
            arrays[ROWS + name] = np.concatenate(column)
            arrays[LENGTHS + name] = np.array([len(one) for one in column], dtype=np.int64)
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # type: ignore[arg-type]
    return file.getvalue()


def read(path: Path, sha256: str) -> Traffic:
    """The rows in `path`. DataError where the file is another than the one with `sha256`, or malformed."""
    data = path.read_bytes()
    if (found := hashlib.sha256(data).hexdigest()) != sha256:
        raise DataError(f"{path} has sha256 {found[:12]}..., expected was {sha256[:12]}...")
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            arrays = {key: archive[key] for key in archive.files}
        labels = arrays[LABELS]
        columns = {
            key.removeprefix(ROWS): split(value, arrays.get(LENGTHS + key.removeprefix(ROWS)))
            for key, value in arrays.items()
            if key.startswith(ROWS)
        }
        rows = [{n: column[i] for n, column in columns.items()} for i in range(len(labels))]
    except (ValueError, KeyError, IndexError, OSError) as error:
        raise DataError(f"{path} holds no labelled rows: {error}") from error
    return Traffic(rows, labels)


def split(joined: np.ndarray, lengths: np.ndarray | None) -> Sequence[np.ndarray]:
    """The rows of one array of a file."""
    if lengths is None:
        return list(joined)
    if (total := int(lengths.sum())) != len(joined):
        raise ValueError(f"{len(joined)} steps, the lengths add up to {total}")
    return np.split(joined, np.cumsum(lengths)[:-1])


def fingerprint(row: Row) -> str:
    """A row's sha256: what says that two rows are the same, wherever they are kept."""
    found = hashlib.sha256()
    for name, value in sorted(row.items()):
        whole = np.ascontiguousarray(value)
        found.update(f"{name} {whole.dtype.str} {whole.shape}".encode())
        found.update(whole.tobytes())
    return found.hexdigest()


class Labelled:
    """Traffic as examples, padded as the model declares."""

    def __init__(
        self, traffic: Traffic, inputs: Sequence[bundle.Tensor], padding: bundle.Padding | None
    ) -> None:
        self.traffic = traffic
        self.inputs, self.padding = inputs, padding

    def __len__(self) -> int:
        return len(self.traffic.rows)

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        rows, labels = self.traffic
        order = np.arange(len(self)) if rng is None else rng.permutation(len(self))
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            parts = [{name: value[None] for name, value in rows[i].items()} for i in chosen]
            yield joined(parts, self.inputs, self.padding), labels[chosen]


class Both:
    """Two sets of examples, one after the other: what a run is stopped by when it has to serve old rows and new ones."""

    def __init__(self, first: Examples, second: Examples) -> None:
        self.first, self.second = first, second

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        yield from self.first.batches(size, rng)
        yield from self.second.batches(size, rng)


class Replay:
    """Traffic with base rows among it, so that what was learnt before is not forgotten: a pass goes once through the traffic.

    `share` of every batch are base rows, others in every pass.
    """

    def __init__(self, base: Examples, traffic: Labelled, share: float) -> None:
        if not 0 <= share < 1:
            raise DataError(f"the share of base rows is {share}, it must be at least 0 and below 1")
        self.base, self.traffic, self.share = base, traffic, share

    def __len__(self) -> int:
        return round(len(self.traffic) / (1 - self.share))

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        old = min(round(self.share * size), size - 1)
        base = endless(self.base, old, rng) if old else repeat(None)
        for (inputs, labels), drawn in zip(
            self.traffic.batches(size - old, rng), base, strict=False
        ):
            if drawn is None:
                yield inputs, labels
                continue
            # The last batch is smaller, and so is its part of base rows.
            kept = -(-old * len(labels) // (size - old))
            parts = [{name: value[:kept] for name, value in drawn[0].items()}, inputs]
            both = joined(parts, self.traffic.inputs, self.traffic.padding)
            yield both, np.concatenate([drawn[1][:kept], labels])


def endless(examples: Examples, size: int, rng: np.random.Generator | None) -> Iterator[Batch]:
    """Batches of `size` rows, again from the beginning when they end."""
    while True:
        yield from examples.batches(size, rng)


def joined(
    parts: Sequence[Mapping[str, np.ndarray]],
    inputs: Sequence[bundle.Tensor],
    padding: bundle.Padding | None,
) -> dict[str, np.ndarray]:
    """Batches [rows, ...] of one model as one batch; along the padded axis all are filled up to the longest."""
    found = {}
    for tensor in inputs:
        arrays = [part[tensor.name] for part in parts]
        if padding is not None and padding.axis in tensor.shape:
            axis = tensor.shape.index(padding.axis)
            longest = max(array.shape[axis] for array in arrays)
            value = padding.values.get(tensor.name, 0)
            arrays = [filled(array, axis, longest, value) for array in arrays]
        found[tensor.name] = np.concatenate(arrays)
    return found


def filled(array: np.ndarray, axis: int, length: int, value: float) -> np.ndarray:
    """`array` with `value` behind it along `axis`, up to `length`."""
    if array.shape[axis] == length:
        return array
    widths = [(0, 0)] * array.ndim
    widths[axis] = (0, length - array.shape[axis])
    return np.pad(array, widths, constant_values=value)
