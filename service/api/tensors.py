"""The Open Inference Protocol's infer bodies <-> arrays. Pure: bytes and arrays in, arrays and bytes out.

body = JSON header [+ raw tensors in the order of the inputs], as long as Inference-Header-Content-Length says
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from models.errors import InputError
from service.api import values
from service.api.values import Slot
from service.engine import wire

MAX_AXES = 16
MAX_ELEMENTS = 1 << 30
REPEATED = 4096
"""Most bytes of a header that is remembered: a program's requests differ in their tensors alone."""
DATA = b'"data":'
PLACE = b'{"list":%d}'
"""Stands in a header for a list of numbers that was taken out of it."""

RESERVED = "triton_"
"""Names of parameters that begin so are the protocol's own."""

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


class Asked(msgspec.Struct, frozen=True):
    """A request without its tensors. `binary` maps each wanted output to its form; `binary_default` is for those not named.

    `timeout`: seconds that the caller gives it; `priority`: the level that it names, 0 for none. `classes`: the outputs that are wanted as
    their K largest values.
    """

    id: str
    inputs: tuple[Slot, ...]
    outputs: tuple[str, ...]
    binary: dict[str, bool]
    binary_default: bool
    timeout: float | None
    priority: int
    classes: dict[str, int]


class Described(msgspec.Struct, omit_defaults=True):
    """One output in an answer."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    parameters: Parameters = {}
    data: list[Any] | msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Answered(msgspec.Struct, omit_defaults=True):
    """The JSON part of an answer."""

    model_name: str
    model_version: str
    outputs: list[Described]
    id: str = ""


def parse(body: bytes, header_length: str | None) -> tuple[Asked, dict[str, np.ndarray]]:
    """What is asked, and its tensors. Raises InputError naming the tensor and both figures."""
    length = read_length(header_length, len(body))
    head, lists = without_lists(body[:length])
    asked = remembered(head) if len(head) <= REPEATED else read_header(head)
    at = length
    tensors: dict[str, np.ndarray] = {}
    for slot in asked.inputs:
        if slot.size is None:
            data = bytes(slot.data)
            tensors[slot.name] = values.from_json(slot, lists.get(data, data))
            continue
        if at + slot.size > len(body):
            missing = at + slot.size - len(body)
            raise InputError(
                f"unexpected size for input '{slot.name}', expecting {missing} additional bytes"
            )
        tensors[slot.name] = values.from_bytes(slot, body, at)
        at += slot.size
    if at != len(body):
        raise InputError(
            f"unexpected additional input data: {len(body) - at} bytes after the last input"
        )
    return asked, tensors


def without_lists(head: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    """`head` with a place in the stead of every flat list of numbers, and what was there.

    They are most of a JSON request, and reading them as part of it costs as much as reading the numbers. What is left is short, and often
    the same as before. Whatever is not plain stays where it is.
    """
    parts: list[bytes] = []
    lists: dict[bytes, bytes] = {}
    at = 0
    while (key := head.find(DATA, at)) >= 0:
        begin = key + len(DATA)
        begin += head.startswith(b" ", begin)
        end = head.find(b"]", begin) + 1
        inside = head[begin + 1 : end]
        if not (end and head.startswith(b"[", begin)) or b"[" in inside or b'"' in inside:
            return head, {}
        if head[key - 1 : key] == b"\\":  # an escaped quote: the end of somebody's name
            return head, {}
        place = PLACE % len(lists)
        lists[place] = head[begin:end]
        parts += (head[at:begin], place)
        at = end
    return b"".join([*parts, head[at:]]), lists


def read_header(head: bytes) -> Asked:
    """The JSON part of a body."""
    try:
        infer = _decoder.decode(head)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InputError(f"failed to parse the request JSON: {error}") from error
    except RecursionError as error:
        raise InputError("failed to parse the request JSON: it is nested too deeply") from error
    if not infer.inputs:
        raise InputError("the request has no inputs")
    slots = tuple(map(read_slot, infer.inputs))
    if name := repeated([slot.name for slot in slots]):
        raise InputError(f"input '{name}' already exists in the request")
    return read_outputs(infer, slots)


remembered = functools.lru_cache(maxsize=1024)(read_header)


def read_outputs(infer: Infer, slots: tuple[Slot, ...]) -> Asked:
    """The request with its outputs' forms: an output's own `binary_data`, or else the request's."""
    if name := next((name for name in infer.parameters if name.startswith(RESERVED)), None):
        raise InputError(f"parameter '{name}' begins with '{RESERVED}', which is reserved")
    default = read_flag(infer.parameters, "binary_data_output", False)
    names = tuple(output.name for output in infer.outputs)
    if name := repeated(names):
        raise InputError(f"output '{name}' already exists in the request")
    for output in infer.outputs:
        if "shared_memory_region" in output.parameters:
            raise InputError(f"output '{output.name}': shared memory is not supported")
    forms = {
        output.name: read_flag(output.parameters, "binary_data", default)
        for output in infer.outputs
    }
    classes = {output.name: count for output in infer.outputs if (count := read_classes(output))}
    timeout = read_timeout(infer.parameters.get("timeout", 0))
    priority = read_priority(infer.parameters.get("priority", 0))
    return Asked(infer.id, slots, names, forms, default, timeout, priority, classes)


def repeated(names: Sequence[str]) -> str | None:
    """The first name that is there twice."""
    return next((name for index, name in enumerate(names) if name in names[:index]), None)


def read_flag(parameters: Parameters, name: str, default: bool) -> bool:
    """A parameter that is true or false."""
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InputError(f"parameter '{name}' is {value!r:.40}, true or false was expected")
    return value


def read_classes(output: Output) -> int:
    """How many of an output's largest values are wanted in its place; 0 where it is wanted itself."""
    count = output.parameters.get("classification", 0)
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise InputError(
            f"output '{output.name}' has classification {count!r:.40}, a number of classes was expected"
        )
    return count


def read_timeout(microseconds: str | int | float | bool) -> float | None:
    """`parameters.timeout` in seconds; 0 asks for nothing."""
    if isinstance(microseconds, bool) or not (
        isinstance(microseconds, int) and 0 <= microseconds < 1 << 64
    ):
        raise InputError(
            f"parameter 'timeout' is {microseconds!r:.40}, an integer of microseconds was expected"
        )
    return microseconds / 1e6 or None


def read_priority(level: str | int | float | bool) -> int:
    """`parameters.priority`: 1 is served first; 0 asks for nothing. Which levels there are, the model knows."""
    if type(level) is not int or not 0 <= level < 1 << 64:
        raise InputError(f"parameter 'priority' is {level!r:.40}, an integer from 0 was expected")
    return level


def read_length(header: str | None, body: int) -> int:
    """How many bytes of the body are JSON."""
    if header is None:
        return body
    if not (header.isascii() and header.isdigit() and len(header) < 12) or int(header) > body:
        raise InputError(
            f"Inference-Header-Content-Length is '{header[:40]}', the body has {body} bytes"
        )
    return int(header)


def read_slot(given: Input) -> Slot:
    """One input, as far as the header alone can be wrong."""
    if given.datatype == "BF16":
        raise InputError(f"input '{given.name}' has datatype 'BF16', which no model here takes")
    if given.datatype not in values.DATATYPES:
        known = ", ".join(values.DATATYPES)
        raise InputError(f"input '{given.name}' has datatype '{given.datatype}', known are {known}")
    elements = count_elements(given)
    if "shared_memory_region" in given.parameters:
        raise InputError(f"input '{given.name}': shared memory is not supported")
    size = given.parameters.get("binary_data_size")
    if (size is None) != bool(memoryview(given.data)):
        raise InputError(f"input '{given.name}' needs exactly one of 'data' and 'binary_data_size'")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
        raise InputError(f"input '{given.name}' has binary_data_size {size!r}")
    slot = Slot(given.name, given.datatype, tuple(given.shape), elements, size, given.data)
    values.check_size(slot)
    return slot


def count_elements(given: Input) -> int:
    """Elements of the stated shape; InputError where no array can have it, told before anything is made of that size."""
    if len(given.shape) > MAX_AXES:
        raise InputError(
            f"input '{given.name}' has {len(given.shape)} axes, the limit is {MAX_AXES}"
        )
    elements = 1
    for count in given.shape:
        if count < 0:
            raise InputError(f"input '{given.name}' has shape {given.shape}: an axis is negative")
        elements *= count
    if elements > MAX_ELEMENTS or max(given.shape, default=0) > MAX_ELEMENTS:
        raise InputError(f"input '{given.name}' has a shape of more than {MAX_ELEMENTS:,} elements")
    return elements


def encode(
    asked: Asked, model: str, version: int, outputs: Mapping[str, np.ndarray]
) -> tuple[bytes, int | None]:
    """(body, length of its JSON part); the length is None when the whole body is JSON."""
    described: list[Described] = []
    blobs: list[bytes | memoryview] = []
    for name, array in outputs.items():
        one = Described(name, values.datatype(array), array.shape)
        if asked.binary.get(name, asked.binary_default):
            data = wire.raw(array)
            one.parameters = {"binary_data_size": len(data)}
            blobs.append(data)
        else:
            one.data = values.as_json(array)
        described.append(one)
    head = msgspec.json.encode(Answered(model, str(version), described, asked.id))
    if not any(map(len, blobs)):
        return head, None
    return b"".join([head, *blobs]), len(head)
