"""The Open Inference Protocol's infer bodies <-> arrays. Pure: bytes and arrays in, arrays and bytes out.

body = JSON header [+ raw tensors in the order of the inputs], as long as Inference-Header-Content-Length says
"""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from models.errors import InputError
from service.engine import wire

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

MAX_AXES = 16
MAX_ELEMENTS = 1 << 30

Parameters = dict[str, str | int | float | bool]


class Input(msgspec.Struct):
    """One input: its values in `data`, or in the binary part."""

    name: str
    shape: list[int]
    datatype: str
    data: msgspec.Raw = msgspec.Raw()
    parameters: Parameters = {}


class Output(msgspec.Struct):
    """One output that the caller wants."""

    name: str
    parameters: Parameters = {}


class Infer(msgspec.Struct):
    """The JSON part of a request; fields that the protocol does not know are ignored."""

    inputs: list[Input]
    id: str = ""
    parameters: Parameters = {}
    outputs: list[Output] = []


_decoder = msgspec.json.Decoder(Infer)
_values = msgspec.json.Decoder(list[Any])


class Request(msgspec.Struct):
    """A parsed request. `binary` maps each wanted output to its form; `binary_default` is for those not named."""

    id: str
    tensors: dict[str, np.ndarray]
    outputs: list[str]
    binary: dict[str, bool]
    binary_default: bool


def parse(body: bytes, header_length: str | None) -> Request:
    """Read an infer body. Raises InputError naming the tensor and both figures."""
    length = read_length(header_length, len(body))
    view = memoryview(body)
    try:
        infer = _decoder.decode(view[:length])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"failed to parse the request JSON: {error}") from error
    except RecursionError as error:
        raise InputError("failed to parse the request JSON: it is nested too deeply") from error
    if not infer.inputs:
        raise InputError("the request has no inputs")
    tensors: dict[str, np.ndarray] = {}
    binary = view[length:]
    for given in infer.inputs:
        if given.name in tensors:
            raise InputError(f"input '{given.name}' already exists in the request")
        tensors[given.name], binary = read_input(given, binary)
    if len(binary):
        raise InputError(
            f"unexpected additional input data: {len(binary)} bytes after the last input"
        )
    return wanted(infer, tensors)


def wanted(infer: Infer, tensors: dict[str, np.ndarray]) -> Request:
    """The request with its outputs' forms: an output's own `binary_data`, or else the request's."""
    default = bool(infer.parameters.get("binary_data_output", False))
    names = [output.name for output in infer.outputs]
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"output '{name}' already exists in the request")
        seen.add(name)
    forms = {
        output.name: bool(output.parameters.get("binary_data", default)) for output in infer.outputs
    }
    for output in infer.outputs:
        if "classification" in output.parameters or "shared_memory_region" in output.parameters:
            raise InputError(
                f"output '{output.name}': classification and shared memory are not supported"
            )
    return Request(infer.id, tensors, names, forms, default)


def read_length(header: str | None, body: int) -> int:
    """How many bytes of the body are JSON."""
    if header is None:
        return body
    if not (header.isascii() and header.isdigit() and len(header) < 12) or int(header) > body:
        raise InputError(
            f"Inference-Header-Content-Length is '{header[:40]}', the body has {body} bytes"
        )
    return int(header)


def read_input(given: Input, binary: memoryview) -> tuple[np.ndarray, memoryview]:
    """(one tensor, what is left of the binary part)."""
    dtype = DATATYPES.get(given.datatype)
    if dtype is None:
        raise InputError(
            f"input '{given.name}' has datatype '{given.datatype}', known are {', '.join(DATATYPES)}"
        )
    check_shape(given)
    size = given.parameters.get("binary_data_size")
    if "shared_memory_region" in given.parameters:
        raise InputError(f"input '{given.name}': shared memory is not supported")
    if (size is None) != bool(bytes(given.data)):
        raise InputError(f"input '{given.name}' needs exactly one of 'data' and 'binary_data_size'")
    if size is None:
        return from_json(given, dtype), binary
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise InputError(f"input '{given.name}' has binary_data_size {size!r}")
    if size > len(binary):
        raise InputError(
            f"unexpected size for input '{given.name}', expecting {size - len(binary)} additional bytes"
        )
    return from_bytes(given, dtype, binary[:size]), binary[size:]


def check_shape(given: Input) -> None:
    """Axes and elements that an array can have at all; told before anything is made of that size."""
    if len(given.shape) > MAX_AXES:
        raise InputError(
            f"input '{given.name}' has {len(given.shape)} axes, the limit is {MAX_AXES}"
        )
    if any(count < 0 for count in given.shape):
        raise InputError(f"input '{given.name}' has shape {given.shape}: an axis is negative")
    if any(count > MAX_ELEMENTS for count in given.shape) or product(given.shape) > MAX_ELEMENTS:
        raise InputError(f"input '{given.name}' has a shape of more than {MAX_ELEMENTS:,} elements")


def from_json(given: Input, dtype: str) -> np.ndarray:
    """`data`, flat or nested, as an array of the stated shape."""
    if dtype != "object" and b'"' in memoryview(given.data).tobytes():
        raise InputError(f"input '{given.name}': 'data' holds values that are not {given.datatype}")
    try:
        values = _values.decode(given.data)
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
    with np.errstate(
        over="ignore"
    ):  # a number too large for the type becomes an infinity, which is refused by name
        return array.astype(dtype)


def as_uint64(given: Input, array: np.ndarray) -> np.ndarray:
    """JSON integers of up to 64 bits."""
    most = np.iinfo(np.uint64).max
    if not all(type(value) is int and 0 <= value <= most for value in array.ravel().tolist()):
        raise InputError(
            f"input '{given.name}': 'data' holds values that are not UINT64: 0 to {most}"
        )
    return array.astype(np.uint64)


def as_bytes(given: Input, array: np.ndarray) -> np.ndarray:
    """JSON strings as bytes."""
    flat = array.ravel().tolist()
    if not all(isinstance(value, str) for value in flat):
        raise InputError(f"input '{given.name}': 'data' holds values that are not strings")
    encoded = np.empty(len(flat), dtype=object)
    encoded[:] = [value.encode() for value in flat]
    return encoded.reshape(array.shape)


def from_bytes(given: Input, dtype: str, data: memoryview) -> np.ndarray:
    """Raw bytes as an array of the stated shape, without a copy where the type allows."""
    if dtype == "object":
        try:
            elements = wire.split_strings(data)
        except ValueError as error:
            raise InputError(f"input '{given.name}': {error}") from error
        array = np.empty(len(elements), dtype=object)
        array[:] = elements
        return reshaped(given, array)
    expected = product(given.shape) * np.dtype(dtype).itemsize
    if len(data) != expected:
        raise InputError(
            f"input '{given.name}' has {len(data)} bytes, shape {given.shape} of {given.datatype} needs {expected}"
        )
    return np.frombuffer(data, dtype=dtype).reshape(given.shape)


def reshaped(given: Input, array: np.ndarray) -> np.ndarray:
    """`array` in the stated shape, when it has as many elements."""
    expected = product(given.shape)
    if array.size != expected:
        raise InputError(
            f"input '{given.name}' has {array.size} values, shape {given.shape} needs {expected}"
        )
    return array.reshape(given.shape)


def product(shape: Sequence[int]) -> int:
    """Elements of a shape, in Python's integers: they do not overflow."""
    total = 1
    for count in shape:
        total *= count
    return total


def encode(
    request: Request, model: str, version: int, outputs: Mapping[str, np.ndarray]
) -> tuple[bytes, int | None]:
    """(body, length of its JSON part); the length is None when the whole body is JSON."""
    described: list[dict[str, Any]] = []
    blobs: list[bytes | memoryview] = []
    for name, array in outputs.items():
        one: dict[str, Any] = {
            "name": name,
            "datatype": NAMES[array.dtype.name],
            "shape": array.shape,
        }
        if request.binary.get(name, request.binary_default):
            heads, buffers = wire.pack({name: array})
            one["parameters"] = {"binary_data_size": heads[0].size}
            blobs += buffers
        else:
            one["data"] = as_json(array)
        described.append(one)
    answer: dict[str, Any] = {"id": request.id} if request.id else {}
    answer |= {"model_name": model, "model_version": str(version), "outputs": described}
    head = msgspec.json.encode(answer)
    if not any(map(len, blobs)):
        return head, None
    return b"".join([head, *blobs]), len(head)


def as_json(array: np.ndarray) -> list[Any]:
    """The elements, flat; strings as text."""
    flat: list[Any] = array.ravel().tolist()
    if array.dtype == object:
        return [
            value.decode(errors="replace") if isinstance(value, bytes) else value for value in flat
        ]
    return flat
