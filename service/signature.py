"""What a model takes and gives, ready to be held against a request. It must not know HTTP or engines.

Everything is checked here, before a batch is formed, so that no caller can spoil another's.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from models import bundle, tasks
from models.errors import InputError, NotFinite
from service.engine import lanes

Tensors = Mapping[str, np.ndarray]

LANES = {1: lanes.HIGH, 2: lanes.NORMAL, 3: lanes.LOW}
"""By the level of priority that a caller names, where the model tells of no levels of its own."""


class Declared(NamedTuple):
    """One input, with what is asked of it for every request looked up once."""

    tensor: bundle.Tensor
    dtype: np.dtype
    fixed: tuple[tuple[int, int], ...]
    """(index, elements) of the axes that have a length of their own."""
    free: tuple[tuple[int, str], ...]
    """(index, name) of those whose lengths must agree with others'."""
    exact: bool
    """What is here was declared by whoever knew the model, not only by a graph: there are no empty tensors and no NaN."""


class Signature:
    """The inputs and outputs that `manifest` declares; `processor` knows which values they may hold."""

    def __init__(self, manifest: bundle.Manifest, processor: tasks.Processor) -> None:
        self.outputs = [tensor.name for tensor in manifest.outputs]
        self._inputs = {tensor.name: declared(tensor, manifest) for tensor in manifest.inputs}
        self._counts_rows = manifest.counts_rows
        self._most_rows = manifest.most_rows
        self._priorities = manifest.priorities
        self._padding = manifest.padding
        free = sum(len(one.free) for one in self._inputs.values())
        self._axes_can_differ = free > 1 or manifest.padding is not None
        self._processor = processor

    def check(self, tensors: Tensors) -> dict[str, np.ndarray]:
        """`tensors` [rows, ...] in the order that the model takes them. Raises InputError naming the tensor and both figures."""
        if len(tensors) != len(self._inputs) or tensors.keys() != self._inputs.keys():
            self._complain_of_names(tensors)
        ordered: dict[str, np.ndarray] = {}
        for name, one in self._inputs.items():
            if (array := tensors.get(name)) is None:
                continue  # it has a value of its own
            ordered[name] = array
            check_tensor(one, array)
        if self._axes_can_differ:
            self._check_axes(ordered)
        self._processor.check(ordered)
        if self._most_rows is not None and (rows := self.rows(ordered)) > self._most_rows:
            raise InputError(
                f"the request has {rows} rows, the model takes at most {self._most_rows} (max_batch_size)"
            )
        return ordered

    def rows(self, tensors: Tensors) -> int:
        """How many rows checked tensors hold: 1 where nobody knows of rows, and a request is run as it is."""
        return len(next(iter(tensors.values()))) if self._counts_rows else 1

    def lane(self, level: int) -> int:
        """The lane of a request whose caller names this level of priority; 0 names none. InputError for one that is not known.

        Where the model tells of its levels, one beyond them is the default, as in Triton.
        """
        if level == 0:
            return lanes.NORMAL
        if self._priorities is not None:
            levels, default = self._priorities
            if level == default or level > levels:
                return lanes.NORMAL
            return lanes.HIGH if level < default else lanes.LOW
        if level not in LANES:
            known = ", ".join(map(str, (0, *LANES)))
            raise InputError(f"parameter 'priority' is {level}, known are {known}")
        return LANES[level]

    def check_outputs(self, names: Sequence[str]) -> list[str]:
        """The outputs to compute: `names`, or all when there is none. Raises InputError when one is unknown."""
        for name in names:
            if name not in self.outputs:
                raise InputError(
                    f"unexpected output '{name}', the model gives {', '.join(self.outputs)}"
                )
        return list(names) or self.outputs

    def _complain_of_names(self, tensors: Tensors) -> None:
        for name in tensors:
            if name not in self._inputs:
                known = ", ".join(self._inputs)
                raise InputError(f"unexpected input '{name}', the model takes {known}")
        required = [name for name, one in self._inputs.items() if not one.tensor.optional]
        missing = next((name for name in required if name not in tensors), None)
        if missing is not None:
            raise InputError(
                f"expected {len(required)} inputs but got {len(tensors)}: '{missing}' is missing"
            )

    def _check_axes(self, tensors: Tensors) -> None:
        """An axis of one name has one length, and the padded one keeps to its limits."""
        axes: dict[str, tuple[int, str]] = {}
        for name, one in self._inputs.items():
            for index, axis in one.free:
                count = tensors[name].shape[index]
                first, owner = axes.setdefault(axis, (count, name))
                if count != first:
                    raise InputError(
                        f"axis '{axis}' has {first} elements in '{owner}' but {count} in '{name}'"
                    )
        if (padding := self._padding) is None:
            return
        count = axes[padding.axis][0]
        if not padding.minimum <= count <= padding.maximum:
            raise InputError(
                f"axis '{padding.axis}' has {count} elements, "
                f"the model takes {padding.minimum} to {padding.maximum}"
            )


def declared(tensor: bundle.Tensor, manifest: bundle.Manifest) -> Declared:
    """`tensor` with its axes sorted out. Of axes that only a graph has named, none but the rows are believed to be the same elsewhere."""
    exact = not isinstance(manifest.task, tasks.TensorTask)
    counts_rows = manifest.counts_rows and not tensor.optional
    axes = list(enumerate(tensor.shape))
    free = ((index, axis) for index, axis in axes if isinstance(axis, str))
    return Declared(
        tensor,
        np.dtype(tensor.dtype),
        tuple((index, axis) for index, axis in axes if isinstance(axis, int)),
        tuple(pair for pair in free if exact or (counts_rows and pair[0] == 0)),
        exact,
    )


def check_tensor(one: Declared, array: np.ndarray) -> None:
    """Type, shape and finiteness of one input."""
    tensor, shape = one.tensor, array.shape
    if array.dtype != one.dtype:
        raise InputError(
            f"input '{tensor.name}' has type {array.dtype.name}, the model takes {tensor.dtype}"
        )
    if not fits(one, shape):
        expected = [-1 if isinstance(axis, str) else axis for axis in tensor.shape]
        raise InputError(
            f"input '{tensor.name}' has shape {list(shape)}, the model takes {expected}"
        )
    kind = one.dtype.kind
    if kind == "f" and one.exact and not finite(array):
        raise NotFinite(f"input '{tensor.name}' holds NaN or an infinity")
    if kind == "O":
        check_text(tensor.name, array)


def check_text(name: str, array: np.ndarray) -> None:
    """Strings reach a model as text. InputError where their bytes are none."""
    for index, element in enumerate(array.ravel()):
        try:
            if isinstance(element, bytes):
                element.decode()
        except UnicodeDecodeError as error:
            raise InputError(f"input '{name}': element {index} is not UTF-8: {error}") from error


def fits(one: Declared, shape: tuple[int, ...]) -> bool:
    """Whether an array of `shape` is what is declared, and not empty where it must not be."""
    if one.tensor.shape == bundle.ANY_RANK:
        return True
    if len(shape) != len(one.tensor.shape) or (one.exact and 0 in shape):
        return False
    for index, count in one.fixed:  # noqa: SIM110 - twice as fast as all() of a generator, for every request
        if shape[index] != count:
            return False
    return True


def finite(array: np.ndarray) -> bool:
    """Whether every number is finite. NaN and infinities survive in a sum of squares, which costs a tenth of asking each number.

    It may also overflow, so what is not finite there is asked again, one by one.
    """
    # Of numpy's products the one that does not warn of an overflow.
    return math.isfinite(np.vdot(array, array)) or bool(np.isfinite(array).all())
