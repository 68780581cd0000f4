"""The values of one tensor: JSON or raw bytes -> an array, an array -> JSON. Pure; it must not know requests.

Errors name the input and both figures. Numbers that are not finite are NaN, Infinity and -Infinity, as Triton and Python write them:
JSON has no words for them.
"""

import json
from typing import Any

import msgspec
import numpy as np
import simdjson

from models.errors import InputError
from service.engine import wire
from service.signature import finite

DATATYPES = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "float16",
    "FP32": "float32",
    "FP64": "float64",
    "BYTES": "object",
}
NAMES = {dtype: name for name, dtype in DATATYPES.items()}
_dtypes = {name: np.dtype(dtype) for name, dtype in DATATYPES.items()}
_names = {dtype: name for name, dtype in _dtypes.items()}

_values = msgspec.json.Decoder(list[Any])
_simdjson = simdjson.Parser()
_floats = msgspec.json.Decoder(list[float])
_integers = msgspec.json.Decoder(list[int])


class Slot(msgspec.Struct, frozen=True):
    """One input as its header describes it: its values are `data`, or `size` bytes of the binary part."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    elements: int
    size: int | None
    data: msgspec.Raw

    @property
    def dtype(self) -> str:
        """numpy's name of the type."""
        return DATATYPES[self.datatype]


def from_json(given: Slot, data: bytes) -> np.ndarray:
    """`data`, a flat or nested list, as an array of the stated shape."""
    dtype = given.dtype
    if (flat := from_flat(given, data)) is not None:
        return reshaped(given, flat)
    if dtype != "object" and b'"' in data:
        raise InputError(f"input '{given.name}': 'data' holds values that are not {given.datatype}")
    try:
        values = decoded(data, _dtypes[given.datatype])
        # Integers beyond int64 would otherwise become floats and lose their last digits.
        array = np.array(values, dtype={"object": object, "uint64": object}.get(dtype))
    except (msgspec.MsgspecError, RecursionError, ValueError, OverflowError) as error:
        raise InputError(
            f"input '{given.name}': 'data' is not a list of {given.datatype} values: {error}"
        ) from error
    array = reshaped(given, array)
    if dtype == "object":
        return as_bytes(given, array)
    if dtype == "uint64":
        return as_uint64(given, array)
    kinds = {"b": "b", "u": "iu", "i": "iu", "f": "iuf"}[np.dtype(dtype).kind]
    if array.size and array.dtype.kind not in kinds:
        raise InputError(f"input '{given.name}': 'data' holds values that are not {given.datatype}")
    if np.dtype(dtype).kind in "iu" and array.size:
        limits = np.iinfo(dtype)
        if int(array.min()) < limits.min or int(array.max()) > limits.max:
            raise InputError(
                f"input '{given.name}': {given.datatype} holds {limits.min} to {limits.max}, 'data' exceeds it"
            )
    return narrowed(given, array)


def decoded(data: bytes, dtype: np.dtype) -> list[Any]:
    """A list of anything; of floats also those that JSON does not know."""
    try:
        return _values.decode(data)
    except msgspec.DecodeError:
        if dtype.kind == "f" and (b"NaN" in data or b"Infinity" in data):
            return list(json.loads(data))
        raise


def narrowed(given: Slot, array: np.ndarray) -> np.ndarray:
    """Numbers in the type that was announced. InputError for one that this cannot hold."""
    try:
        with np.errstate(over="raise"):
            return array.astype(_dtypes[given.datatype], copy=False)
    except FloatingPointError as error:
        most = float(np.finfo(given.dtype).max)
        number = next(one for one in array.ravel().tolist() if most < abs(one) < np.inf)
        raise InputError(
            f"input '{given.name}': 'data' holds {number!r}, {given.datatype} ends at {most:.6g}"
        ) from error


def from_flat(given: Slot, data: bytes) -> np.ndarray | None:
    """The array of a flat list of plain numbers, which nearly all are; None sends anything else the long way."""
    dtype = _dtypes[given.datatype]
    try:
        if dtype.kind in "iu":
            values = _integers.decode(data)
            return np.fromiter(values, dtype, len(values))
        numbers = floats(data) if dtype.kind == "f" else None
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError):
        return None  # whatever it is, the long way has the words for it
    return None if numbers is None else narrowed(given, numbers)


def floats(text: bytes) -> np.ndarray | None:
    """JSON numbers without a Python object for each of them, which would take most of a request's time."""
    if text.find(b"[", 1) >= 0:
        return None
    try:
        array = _simdjson.parse(text)
    except (ValueError, RuntimeError):  # it knows no integers beyond 64 bits
        return np.array(_floats.decode(text), np.float64)
    return (
        np.frombuffer(array.as_buffer(of_type="d")) if isinstance(array, simdjson.Array) else None
    )


def as_uint64(given: Slot, array: np.ndarray) -> np.ndarray:
    """JSON integers of up to 64 bits."""
    most = np.iinfo(np.uint64).max
    if not all(type(value) is int and 0 <= value <= most for value in array.ravel().tolist()):
        raise InputError(
            f"input '{given.name}': 'data' holds values that are not UINT64: 0 to {most}"
        )
    return array.astype(np.uint64)


def as_bytes(given: Slot, array: np.ndarray) -> np.ndarray:
    """JSON strings as bytes."""
    flat = array.ravel().tolist()
    if not all(isinstance(value, str) for value in flat):
        raise InputError(f"input '{given.name}': 'data' holds values that are not strings")
    encoded = np.empty(len(flat), dtype=object)
    encoded[:] = [value.encode() for value in flat]
    return encoded.reshape(array.shape)


def check_size(given: Slot) -> None:
    """Whether the bytes announced are what the shape needs; the size of strings is known only when they are read."""
    if given.size is None or given.datatype == "BYTES":
        return
    expected = given.elements * _dtypes[given.datatype].itemsize
    if given.size != expected:
        raise InputError(
            f"input '{given.name}' has {given.size} bytes, "
            f"shape {list(given.shape)} of {given.datatype} needs {expected}"
        )


def from_bytes(given: Slot, body: bytes, at: int) -> np.ndarray:
    """The raw values from `at` as an array of the stated shape, without a copy where the type allows."""
    assert given.size is not None  # noqa: S101 - only slots that announce bytes come here
    if given.datatype == "BYTES":
        try:
            elements = wire.split_strings(memoryview(body)[at : at + given.size])
        except ValueError as error:
            raise InputError(f"input '{given.name}': {error}") from error
        array = np.empty(len(elements), dtype=object)
        array[:] = elements
        return reshaped(given, array)
    if not given.size:
        return np.empty(given.shape, given.dtype)
    flat: np.ndarray = np.frombuffer(body, _dtypes[given.datatype], given.elements, at)
    return flat.reshape(given.shape)


def reshaped(given: Slot, array: np.ndarray) -> np.ndarray:
    """`array` in the stated shape, when it has as many elements."""
    if array.size != given.elements:
        raise InputError(
            f"input '{given.name}' has {array.size} values, "
            f"shape {list(given.shape)} needs {given.elements}"
        )
    return array.reshape(given.shape)


def datatype(array: np.ndarray) -> str:
    """The protocol's name of an array's type."""
    return _names[array.dtype]


def as_json(array: np.ndarray) -> list[Any] | msgspec.Raw:
    """The elements, flat; strings as text."""
    flat: list[Any] = array.ravel().tolist()
    if array.dtype.kind == "f" and not finite(array):
        return msgspec.Raw(json.dumps(flat, separators=(",", ":")).encode())
    if array.dtype == object:
        return [
            value.decode(errors="replace") if isinstance(value, bytes) else value for value in flat
        ]
    return flat
