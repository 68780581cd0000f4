"""How requests become one batch and its outputs each caller's answer, worked out once from the manifest. Pure numpy; it must not know ONNX Runtime.

[tensors of each request] -> join (or fill, into buffers that stay) -> a batch -> cut -> [outputs of each request]
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from models import bundle
from models.tasks import SeriesTask
from service.engine.latency import Bucket
from service.errors import EngineError

Tensors = dict[str, np.ndarray]
Shape = tuple[int, ...]


class Column(NamedTuple):
    """One input of a batch. `axis`: the one that is filled up with `value`, None where rows keep their shape."""

    name: str
    axis: int | None
    value: float


class Layout:
    """The batches of one model."""

    batched = True

    def __init__(self, manifest: bundle.Manifest) -> None:
        self._manifest = manifest
        padding = manifest.padding
        self._columns = tuple(column(tensor, padding) for tensor in manifest.inputs)
        self._lengths = padding.buckets if padding else ()
        measured = [one for one in self._columns if one.axis is not None]
        self._measured = measured[0] if measured else None
        self._cut_axes = {
            tensor.name: tensor.shape.index(padding.axis)
            for tensor in manifest.outputs
            if padding is not None and padding.axis in tensor.shape
        }
        self.outputs = tuple(tensor.name for tensor in manifest.outputs)
        self.counts_rows = manifest.counts_rows
        self.dtypes = {
            tensor.name: np.dtype(tensor.dtype) for tensor in (*manifest.inputs, *manifest.outputs)
        }
        self._texts = [one.name for one in manifest.inputs if self.dtypes[one.name].hasobject]

    def rows(self, tensors: Tensors) -> int:
        """How many rows a request brings to a batch."""
        return count_rows(tensors)

    def check(self, tensors: Tensors) -> None:
        """EngineError where an input is missing, or one has another name or type."""
        inputs = {tensor.name: tensor for tensor in self._manifest.inputs}
        for name, array in tensors.items():
            if name not in inputs:
                raise EngineError(
                    f"there is no input '{name}', the model takes {', '.join(inputs)}"
                )
            if array.dtype != self.dtypes[name]:
                raise EngineError(
                    f"input '{name}' is {array.dtype}, the model takes {self.dtypes[name]}"
                )
        for name, tensor in inputs.items():
            if not tensor.optional and name not in tensors:
                raise EngineError(f"input '{name}' is missing")

    def bucket(self, tensors: Tensors) -> Bucket:
        """Requests of equal buckets may share a batch: the padded length, or else the shapes of the rows."""
        if self._measured is None:
            return Bucket(1, tuple(tensors[one.name].shape[1:] for one in self._columns))
        return Bucket(self._padded(self.length(tensors)))

    def buckets(self, kept: Tensors) -> tuple[Bucket, ...]:
        """Every bucket that the manifest declares, or the one of the kept rows, where there are any."""
        return tuple(map(Bucket, self._lengths)) or ((self.bucket(kept),) if kept else ())

    def length(self, tensors: Tensors) -> int:
        """What a caller sent along the padded axis; 0 where nothing is padded."""
        one = self._measured
        return 0 if one is None or one.axis is None else int(tensors[one.name].shape[one.axis])

    def longest(self, requests: Sequence[Tensors]) -> int:
        """The length of the longest request; 0 where nothing is padded."""
        return max(map(self.length, requests))

    def padded(self, requests: Sequence[Tensors]) -> int:
        """The length of the requests' bucket; 0 where nothing is padded."""
        return self._padded(self.length(requests[0]))

    def lengths(self, requests: Sequence[Tensors], length: int) -> tuple[int, int]:
        """(elements that callers sent, elements after padding to `length`) along the padded axis; (0, 0) without one."""
        if self._measured is None:
            return 0, 0
        counts = [count_rows(request) for request in requests]
        real = sum(self.length(one) * n for one, n in zip(requests, counts, strict=True))
        return real, length * sum(counts)

    def join(self, requests: Sequence[Tensors], length: int) -> Tensors:
        """The requests' rows as one batch, padded to `length`. What needs no change is not copied."""
        batch: Tensors = {}
        for name, axis, value in self._columns:
            arrays = [request[name] for request in requests]
            if axis is not None and {array.shape[axis] for array in arrays} != {length}:
                batch[name] = pad(arrays, axis, length, value)
            elif len(arrays) > 1:
                batch[name] = np.concatenate(arrays)
            else:
                batch[name] = as_it_lies(arrays[0])
        for name in self._texts:
            batch[name] = as_text(batch[name])
        return batch

    def fill(self, buffers: Tensors, requests: Sequence[Tensors]) -> None:
        """Write the requests' rows into `buffers`; rows that are left over repeat the first, so that they harm nothing."""
        for name, axis, value in self._columns:
            buffer = buffers[name]
            if axis is not None:
                buffer.fill(value)
            end = write(buffer, [request[name] for request in requests], axis or 0)
            buffer[end:] = buffer[:1]

    def input_shapes(self, bucket: Bucket, rows: int) -> dict[str, Shape | None]:
        """The inputs' shapes in a batch of `rows` rows, None where neither manifest nor bucket tells."""
        inputs = self._manifest.inputs
        if self._measured is None:
            shapes = zip(inputs, bucket.shapes, strict=True)
            return {tensor.name: (rows, *shape) for tensor, shape in shapes}
        return {tensor.name: self._sized(tensor, bucket, rows) for tensor in inputs}

    def output_shapes(self, bucket: Bucket, rows: int) -> dict[str, Shape | None]:
        """The outputs' shapes in a batch of `rows` rows, None where the manifest does not tell."""
        return {tensor.name: self._sized(tensor, bucket, rows) for tensor in self._manifest.outputs}

    def bindable(self, bucket: Bucket, rows: int) -> bool:
        """Whether a batch's inputs have known shapes and numbers in them, so that memory can wait for them."""
        known = None not in self.input_shapes(bucket, rows).values()
        return known and not any(dtype.hasobject for dtype in self.dtypes.values())

    def cut(self, requests: Sequence[Tensors], outputs: Mapping[str, np.ndarray]) -> list[Tensors]:
        """Each request's rows of `outputs`, without what padding added."""
        if len(requests) == 1 and not self._cut_axes:
            return [dict(outputs)]
        answers: list[Tensors] = []
        start = 0
        for request in requests:
            end = start + count_rows(request)
            answer = {name: array[start:end] for name, array in outputs.items()}
            for name, axis in self._cut_axes.items():
                if name in answer:
                    index = (slice(None),) * axis + (slice(self.length(request)),)
                    answer[name] = answer[name][index]
            answers.append(answer)
            start = end
        return answers

    def example(self, kept: Tensors, bucket: Bucket, rows: int) -> Tensors:
        """Kept rows, repeated to `rows`, and along the padded axis to the bucket's length."""
        order = np.arange(rows) % count_rows(kept)
        made: Tensors = {}
        for name, axis, _ in self._columns:
            array = kept[name][order]
            if axis is not None:
                array = array.take(np.arange(bucket.length) % array.shape[axis], axis=axis)
            made[name] = np.ascontiguousarray(array)
        if isinstance(task := self._manifest.task, SeriesTask) and task.lengths in made:
            made[task.lengths][:] = bucket.length  # else a recurrent model would stop early
        return made

    def _padded(self, length: int) -> int:
        at = bisect_left(self._lengths, length)
        return self._lengths[at] if at < len(self._lengths) else length

    def _sized(self, tensor: bundle.Tensor, bucket: Bucket, rows: int) -> Shape | None:
        padding = self._manifest.padding
        known: dict[int | str, int] = {tensor.shape[0]: rows} if tensor.shape else {}
        if padding is not None:
            known[padding.axis] = bucket.length
        sizes = [known.get(axis, axis) for axis in tensor.shape]
        whole = tuple(size for size in sizes if isinstance(size, int))
        return whole if len(whole) == len(sizes) else None


class Alone(Layout):
    """Every request runs by itself, as it came: nothing is known of its axes, and optional inputs may be missing."""

    batched = False

    def rows(self, tensors: Tensors) -> int:
        return count_rows(tensors) if self.counts_rows else 1

    def bucket(self, tensors: Tensors) -> Bucket:
        return Bucket(1, tuple(array.shape for array in tensors.values()))

    def join(self, requests: Sequence[Tensors], length: int) -> Tensors:
        (request,) = requests
        texts = self._texts
        return {
            name: as_text(array) if name in texts else as_it_lies(array)
            for name, array in request.items()
        }

    def bindable(self, bucket: Bucket, rows: int) -> bool:
        return False

    def cut(self, requests: Sequence[Tensors], outputs: Mapping[str, np.ndarray]) -> list[Tensors]:
        return [dict(outputs)]

    def example(self, kept: Tensors, bucket: Bucket, rows: int) -> Tensors:
        return kept


def layout(manifest: bundle.Manifest) -> Layout:
    """How requests to this version are run."""
    return Layout(manifest) if manifest.batched else Alone(manifest)


def column(tensor: bundle.Tensor, padding: bundle.Padding | None) -> Column:
    """How one input is joined."""
    if padding is None or tensor.name not in padding.values:
        return Column(tensor.name, None, 0.0)
    return Column(tensor.name, tensor.shape.index(padding.axis), padding.values[tensor.name])


def count_rows(tensors: Tensors) -> int:
    """The length of the axis that all tensors share."""
    return len(next(iter(tensors.values())))


def as_it_lies(array: np.ndarray) -> np.ndarray:
    """`array` itself where ONNX Runtime can read it in place: its kernels expect elements at aligned addresses."""
    return array if array.flags.c_contiguous and array.flags.aligned else array.copy()


def as_text(array: np.ndarray) -> np.ndarray:
    """Callers send bytes; ONNX Runtime takes text, and would take the name of anything else."""
    text = np.empty(array.shape, object)
    elements = (one.decode() if isinstance(one, bytes) else one for one in array.ravel())
    text.ravel()[:] = list(elements)
    return text


def pad(arrays: Sequence[np.ndarray], axis: int, length: int, value: float) -> np.ndarray:
    """Join `arrays` [rows, ...] along the rows, each filled up to `length` along `axis` with `value`."""
    shape = list(arrays[0].shape)
    shape[0], shape[axis] = sum(map(len, arrays)), length
    joined = np.full(shape, value, arrays[0].dtype)
    write(joined, arrays, axis)
    return joined


def write(into: np.ndarray, arrays: Sequence[np.ndarray], axis: int) -> int:
    """Put `arrays` one after the other into the rows of `into`, from its beginning along `axis`; the number of rows written."""
    between = (slice(None),) * (axis - 1)
    start = 0
    for array in arrays:
        end = start + len(array)
        if axis == 1:
            into[start:end, : array.shape[1]] = array
        elif axis > 1:
            into[(slice(start, end), *between, slice(array.shape[axis]))] = array
        else:
            into[start:end] = array
        start = end
    return start
