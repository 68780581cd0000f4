"""Requests of which the right answer is known beforehand, and the judgement of what came instead. It must not know who is asked.

A question is a whole HTTP message and a check of the answer. Most go to a model whose arithmetic is exact (small integers in float32), so
that a right answer is equal to its last bit whoever shared its batch, and no two questions have the same one.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np

from loadtests.torture.found import Outcome

REFUSALS = {429, 503, 504}
HEADER_LENGTH = b"inference-header-content-length"

Check = Callable[[int, bytes, int], str | None]
"""(status, body, length of the body's JSON or 0) -> what is wrong with it."""


class Question(NamedTuple):
    """One request; `model` is whom it is for, `kind` what it tries."""

    model: str
    kind: str
    message: bytes
    check: Check


class Answer(NamedTuple):
    """One response. Names of headers are in lower case."""

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes


class Output(msgspec.Struct):
    """A tensor of an answer of /v2."""

    name: str
    shape: list[int]
    data: list[float] = []


class Inferred(msgspec.Struct):
    """An answer of /v2."""

    outputs: list[Output]


class Ranked(msgspec.Struct):
    """A prediction of /v1."""

    label: str
    probability: float


class Predicted(msgspec.Struct):
    """An answer of /v1."""

    predictions: list[Ranked]


_inferred = msgspec.json.Decoder(Inferred)
_predicted = msgspec.json.Decoder(Predicted)


def judge(question: Question, answer: Answer) -> tuple[Outcome, str]:
    """What became of a question that was answered."""
    if answer.status in REFUSALS:
        if answer.status != 503 or answer.headers.get(b"retry-after", b"").isdigit():
            return "refused", str(answer.status)
        return "wrong", f"{question.kind}: 503 without Retry-After"
    length = answer.headers.get(HEADER_LENGTH, b"0")
    fault = question.check(answer.status, answer.body, int(length))
    return ("right", "") if fault is None else ("wrong", f"{question.kind}: {fault}")


def message(path: str, body: bytes, content_type: str = "application/json", **more: str) -> bytes:
    """A whole POST."""
    headers = {"Host": "torture", "Content-Type": content_type, "Content-Length": str(len(body))}
    lines = [
        f"POST {path} HTTP/1.1",
        *(f"{k.replace('_', '-')}: {v}" for k, v in {**headers, **more}.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


def tensor(name: str, array: np.ndarray) -> dict[str, Any]:
    """An input of /v2 without its numbers."""
    kinds = {"float32": "FP32", "int32": "INT32", "int64": "INT64"}
    return {"name": name, "shape": list(array.shape), "datatype": kinds[array.dtype.name]}


def as_json(model: str, inputs: Mapping[str, np.ndarray]) -> bytes:
    """A request of /v2 with its numbers as text."""
    told = [tensor(k, a) | {"data": a.ravel().tolist()} for k, a in inputs.items()]
    return message(f"/v2/models/{model}/infer", msgspec.json.encode({"inputs": told}))


def as_binary(model: str, inputs: Mapping[str, np.ndarray], output: str) -> bytes:
    """A request of /v2 with its numbers as they are, which asks for `output` in the same way."""
    told = [
        tensor(k, a) | {"parameters": {"binary_data_size": a.nbytes}} for k, a in inputs.items()
    ]
    wanted = [{"name": output, "parameters": {"binary_data": True}}]
    head = msgspec.json.encode({"inputs": told, "outputs": wanted})
    body = head + b"".join(a.tobytes() for a in inputs.values())
    length = {"Inference-Header-Content-Length": str(len(head))}
    return message(f"/v2/models/{model}/infer", body, "application/octet-stream", **length)


def equal(name: str, expected: np.ndarray) -> Check:
    """The output `name` is `expected`, to the last bit."""
    numbers, raw, shape = expected.ravel().tolist(), expected.tobytes(), list(expected.shape)

    def check(status: int, body: bytes, length: int) -> str | None:
        if status != 200:
            return told(status, body)
        try:
            outputs = {one.name: one for one in _inferred.decode(body[: length or None]).outputs}
        except msgspec.DecodeError as error:
            return f"no answer of the protocol: {error}"
        if name not in outputs or outputs[name].shape != shape:
            return f"'{name}' is missing or of another shape"
        same = body[length:] == raw if length else outputs[name].data == numbers
        return None if same else f"'{name}' is another request's, or computed wrongly"

    return check


def close(expected: np.ndarray, tolerance: float) -> Check:
    """The only output, in binary, is within `tolerance` of `expected`."""

    def check(status: int, body: bytes, length: int) -> str | None:
        if status != 200:
            return told(status, body)
        size = 4 * expected.size
        if not length or len(body) - length != size:
            return f"{len(body) - length} bytes of numbers, expected {size}"
        found = struct.unpack(f"<{expected.size}f", body[length:])
        far = float(np.abs(np.array(found) - expected.ravel()).max())
        return None if far <= tolerance else f"{far:.2g} from the reference"

    return check


def labelled(label: str, probability: float, tolerance: float) -> Check:
    """One prediction, with this label and a probability within `tolerance` of this one."""

    def check(status: int, body: bytes, _: int) -> str | None:
        if status != 200:
            return told(status, body)
        try:
            (found,) = _predicted.decode(body).predictions
        except (msgspec.DecodeError, ValueError) as error:
            return f"no prediction: {error}"
        if found.label != label or abs(found.probability - probability) > tolerance:
            return f"{found.label} {found.probability:g}, expected {label} {probability:g}"
        return None

    return check


def refused_with(*statuses: int) -> Check:
    """One of `statuses`, with a sentence."""

    def check(status: int, body: bytes, _: int) -> str | None:
        if status not in statuses:
            return f"{told(status, body)}, expected {' or '.join(map(str, statuses))}"
        try:
            said = msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.DecodeError:
            return f"{status} without a sentence"
        return None if said.get("error") or said.get("detail") else f"{status} without a sentence"

    return check


def told(status: int, body: bytes) -> str:
    """What an answer says, for a person."""
    return f"{status} {body[:160].decode(errors='replace')}"
