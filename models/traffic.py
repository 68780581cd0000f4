"""Rows that a model met while it served, with the labels that came back: kept in one file, and mixed into what it trains on. numpy only.

    rows without a batch axis + labels -> write -> traffic.npz -> read -> Replay(base rows, traffic) -> batches

A file holds an array per input: rows of equal shape stacked, rows that differ in length one behind the other, with their lengths.
"""

import hashlib
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import repeat
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from models import bundle
from models.errors import DataError
from models.tasks import Row, SeriesTask, Task, TextTask

Batch = tuple[dict[str, np.ndarray], np.ndarray]
ROWS, LENGTHS, LABELS = "rows.", "lengths.", "labels"


class Model(Protocol):
    """What recipes and manifests say of rows alike."""

    @property
    def inputs(self) -> tuple[bundle.Tensor, ...]: ...
    @property
    def padding(self) -> bundle.Padding | None: ...
    @property
    def task(self) -> Task: ...


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


Varied = Callable[[Row, np.random.Generator], Row]
"""Changes a row for training, in ways in which rows differ anyway."""


class Labelled:
    """Traffic as examples, padded as the model declares; in training each row `varied`, where that is given."""

    def __init__(
        self,
        traffic: Traffic,
        inputs: Sequence[bundle.Tensor],
        padding: bundle.Padding | None,
        varied: Varied | None = None,
    ) -> None:
        self.traffic = traffic
        self.inputs, self.padding = inputs, padding
        self.varied = varied

    def __len__(self) -> int:
        return len(self.traffic.rows)

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        order = np.arange(len(self)) if rng is None else rng.permutation(len(self))
        for start in range(0, len(order), size):
            yield self.batch(order[start : start + size], rng)

    def batch(self, chosen: np.ndarray, rng: np.random.Generator | None = None) -> Batch:
        """Those rows together."""
        rows = [self.traffic.rows[i] for i in chosen]
        if rng is not None and self.varied is not None:
            rows = [self.varied(row, rng) for row in rows]
        parts = [{name: value[None] for name, value in row.items()} for row in rows]
        return joined(parts, self.inputs, self.padding), self.traffic.labels[chosen]


class Joined:
    """Sets of examples, one after the other."""

    def __init__(self, *parts: Examples) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        for part in self.parts:
            yield from part.batches(size, rng)


class Replay:
    """Traffic with base rows among it, so that what was learnt before is not forgotten: a pass goes once through the traffic.

    `share` of all rows are base rows, others in every pass; a batch differs from that by less than one row.
    """

    def __init__(self, base: Examples, traffic: Labelled, share: float) -> None:
        if not 0 <= share < 1:
            raise DataError(f"the share of base rows is {share}, it must be at least 0 and below 1")
        self.base, self.traffic, self.share = base, traffic, share

    def __len__(self) -> int:
        return round(len(self.traffic) / (1 - self.share))

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        count = len(self.traffic)
        order = np.arange(count) if rng is None else rng.permutation(count)
        new = round(size * (1 - self.share), 9)
        ends = np.minimum(np.round(np.arange(math.ceil(count / new) + 1) * new).astype(int), count)
        ends = ends[: int(np.searchsorted(ends, count)) + 1]
        base = endless(self.base, size, rng) if self.share else repeat(None)
        for start, end, drawn in zip(ends, ends[1:], base, strict=False):
            found = self.traffic.batch(order[start:end], rng) if end > start else None
            # The last batch is smaller, and so is its part of base rows.
            room = size if end < count else min(size, math.ceil((end - start) / (1 - self.share)))
            yield self.together(drawn, found, room)

    def together(self, base: Batch | None, new: Batch | None, room: int) -> Batch:
        """All of the traffic's rows, and as many base rows as there is room for."""
        if base is None or new is None:
            return base or new  # type: ignore[return-value] # one of them is there
        kept = room - len(new[1])
        parts = [{name: value[:kept] for name, value in base[0].items()}, new[0]]
        both = joined(parts, self.traffic.inputs, self.traffic.padding)
        return both, np.concatenate([base[1][:kept], new[1]])


def endless(examples: Examples, size: int, rng: np.random.Generator | None) -> Iterator[Batch]:
    """Batches of `size` rows, again from the beginning when they end."""
    while True:
        yield from examples.batches(size, rng)


def some(examples: Examples, model: Model, count: int) -> Traffic:
    """`count` of the rows, evenly from all of them."""
    wanted = set(np.linspace(0, len(examples) - 1, min(count, len(examples))).astype(int).tolist())
    rows, found, seen = [], [], 0
    for inputs, labels in examples.batches(64):
        for index in range(len(labels)):
            if seen + index in wanted:
                rows.append(single(inputs, index, model))
                found.append(labels[index])
        seen += len(labels)
    return Traffic(rows, np.array(found, dtype=np.int64))


def single(inputs: Mapping[str, np.ndarray], index: int, model: Model) -> Row:
    """One row of a batch, without its padding."""
    row = {name: array[index] for name, array in inputs.items()}
    length = length_of(row, model.task)
    if model.padding is None or length is None:
        return row
    for tensor in model.inputs:
        if model.padding.axis in tensor.shape:
            axis = tensor.shape.index(model.padding.axis) - 1
            row[tensor.name] = row[tensor.name].take(range(length), axis=axis)
    return row


def length_of(row: Row, task: Task) -> int | None:
    """How much of a padded row is real, where its task tells."""
    match task:
        case SeriesTask():
            return int(row[task.lengths])
        case TextTask():
            return int(row[task.mask].sum())
    return None


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
