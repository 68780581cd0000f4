"""Tensors that are not what they say. Each is refused in a sentence, and the service lives on within its memory."""

import json
import struct
from typing import Any

import pytest
from hostile import DEEP, INFER, LIMIT, Service, asked, refused
from raw import Connection, message

pytestmark = pytest.mark.system


def of(body: Any) -> bytes:
    return message(INFER, body if isinstance(body, bytes) else json.dumps(body).encode())


def binary(header: Any, tail: bytes, length: object = None) -> bytes:
    head = json.dumps(header).encode()
    told = str(len(head) if length is None else length)
    return message(INFER, head + tail, {"Inference-Header-Content-Length": told})


def blob(size: Any, shape: Any = (1, 3), datatype: str = "FP32") -> dict[str, Any]:
    tensor = {"name": "x", "shape": shape, "datatype": datatype}
    return {"inputs": [{**tensor, "parameters": {"binary_data_size": size}}]}


TWELVE = bytes(12)
TENSORS: dict[str, bytes] = {
    "more elements than there are": of(asked([1, 2, 3], [2**62, 3])),
    "a product that wraps to nothing": of(asked([], [2**32, 2**32])),
    "a product that wraps to three": of(asked([1, 2, 3], [3, 2**64 + 1])),
    "an axis beyond 64 bits": of(asked([1], [2**70])),
    "a negative axis": of(asked([1, 2, 3], [-1, -3])),
    "no rows": of(asked([], [0, 3])),
    "no columns": of(asked([], [1, 0])),
    "no axes": of(asked([1], [])),
    "half an axis": of(asked([1, 2, 3], [1.5, 2])),
    "an axis in words": of(asked([1, 2, 3], ["1", 3])),
    "ten thousand axes": of(asked([1, 2, 3], [1] * 10_000)),
    "a shape of zeros and giants": of(asked([], [0, 2**62])),
    "a giant in bytes": binary(blob(12, [2**61, 1]), TWELVE),
    "less than it says": binary(blob(1200, [100, 3]), TWELVE),
    "more than it says": binary(blob(8, [1, 2]), TWELVE),
    "nothing of what it says": binary(blob(12), b""),
    "a negative size": binary(blob(-12), TWELVE),
    "a size beyond 64 bits": binary(blob(2**70), TWELVE),
    "half a size": binary(blob(11.5), TWELVE),
    "strings that say they are longer": binary(
        blob(12, [1, 3], "BYTES"), struct.pack("<I", 2**32 - 1) + bytes(8)
    ),
    "strings that say they are shorter": binary(
        blob(12, [1, 1], "BYTES"), struct.pack("<I", 2) + bytes(8)
    ),
    **{
        f"a header of '{length}'": binary(blob(12), TWELVE, length)
        for length in (99_999_999_999, -1, "abc", "1e3", "+5", "0x10", "1 2", 2**70, 5)
    },
    "1e400": of(b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,1e400]}]}'),
    "a name of 200,000": of(
        {
            "inputs": [
                {"name": "x" * 200_000, "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}
            ]
        }
    ),
    "an output of 200,000": of(asked([1, 2, 3]) | {"outputs": [{"name": "y" * 200_000}]}),
    "a number of 100,000 digits": of(
        b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,'
        + b"9" * 100_000
        + b"]}]}"
    ),
    "half a surrogate": of(
        b'{"inputs":[{"name":"\\ud800","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}'
    ),
    "no UTF-8": of(
        b'{"inputs":[{"name":"\xff\xfe","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}'
    ),
    "no UTF-8 behind the data": of(
        b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}],"id":"\xc3\x28"}'
    ),
    "a million inputs": of(b'{"inputs":[' + b"{}," * 90_000 + b"{}]}"),
    "a thousand outputs of one name": of(asked([1, 2, 3]) | {"outputs": [{"name": "y"}] * 1000}),
    "an endless list": of(b'{"inputs":' + b"[" * DEEP),
    "an endless object": of(b'{"a":' * (LIMIT // 6)),
    "endless data": of(
        b'{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":'
        + b"[" * DEEP
        + b"]" * 40_000
    ),
    "endless parameters": of(b'{"inputs":[],"parameters":' + b"[" * DEEP),
    "a type nobody knows": of(
        {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP99" * 1000, "data": [1]}]}
    ),
    "a timeout that wraps": of(asked([1, 2, 3]) | {"parameters": {"timeout": -(2**63)}}),
    "a priority beyond all": of(asked([1, 2, 3]) | {"parameters": {"priority": 2**64}}),
}


@pytest.mark.parametrize("case", TENSORS)
async def test_no_tensor_is_taken_at_its_word(service: Service, case: str):
    await refused(service, TENSORS[case])


@pytest.mark.parametrize("twice", ["data", "shape", "inputs", "name"])
async def test_of_a_key_that_is_there_twice_the_last_counts_for_everything(
    service: Service, twice: str
):
    """Two parsers that took different ones could be told two things."""
    first = {"data": "[9,9,9]", "shape": "[7,7]", "name": '"z"', "inputs": "[]"}[twice]
    data = '"data":[1,2,3]'
    tensor = f'"name":"x","shape":[1,3],"datatype":"FP32",{data}'
    if twice == "inputs":
        body = '{"inputs":[],"inputs":[{' + tensor + "}]}"
    else:
        body = '{"inputs":[{' + f'"{twice}":{first},' + tensor + "}]}"
    async with Connection(service.url) as connection:
        reply = await connection.ask(of(body.encode()))
    if reply.status == 200:
        assert json.loads(reply.body)["outputs"][0]["data"] == [16.5, 21.5]
    else:
        assert reply.status == 400
