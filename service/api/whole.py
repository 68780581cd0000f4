"""A body that is one tensor and nothing else: `Inference-Header-Content-Length: 0`. Pure: bytes in, an array out.

What the JSON would have said is taken from the model: it must have one input, of which all axes are known but one.
"""

import math

import msgspec
import numpy as np

from models.bundle import ANY_RANK, Manifest, Tensor
from models.errors import InputError
from service.api import values
from service.api.tensors import Asked
from service.api.values import Slot


def parse(body: bytes, manifest: Manifest) -> tuple[Asked, dict[str, np.ndarray]]:
    """As `tensors.parse`: one row where the model knows rows; strings are one element without a length. The answer is binary."""
    if len(manifest.inputs) != 1:
        raise InputError(
            f"a body without a header is one tensor, the model takes {len(manifest.inputs)}"
        )
    tensor = manifest.inputs[0]
    shape = shape_of(tensor, manifest.counts_rows, len(body))
    if tensor.dtype == "object":
        array = np.empty(1, object)
        array[0] = body
        array = array.reshape(shape)
    else:
        size, datatype = len(body), values.NAMES[tensor.dtype]
        slot = Slot(tensor.name, datatype, shape, math.prod(shape), size, msgspec.Raw())
        values.check_size(slot)
        array = values.from_bytes(slot, body, 0)
    return Asked("", (), (), {}, True, None, 0, {}), {tensor.name: array}


def shape_of(tensor: Tensor, batched: bool, size: int) -> tuple[int, ...]:
    """The shape of `size` bytes as `tensor`. InputError where more than one axis is open, or strings are not one."""
    axes = (1, *tensor.shape[1:]) if batched else tensor.shape
    known = math.prod(axis for axis in axes if isinstance(axis, int))
    free = sum(isinstance(axis, str) for axis in axes)
    if tensor.dtype == "object":
        if known != 1:
            raise InputError(f"input '{tensor.name}' takes {known} strings, a body is one")
        return tuple(axis if isinstance(axis, int) else 1 for axis in axes)
    if free > 1 or tensor.shape == ANY_RANK:
        raise InputError(
            f"input '{tensor.name}' has more than one axis of any length, a body without a header tells one"
        )
    width = known * np.dtype(tensor.dtype).itemsize
    length = size // width if width else 0
    return tuple(axis if isinstance(axis, int) else length for axis in axes)
