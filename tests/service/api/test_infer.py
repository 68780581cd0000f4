"""One table of infer requests, each sent both ways: past the connection that answers itself, and past the framework."""

import gzip
import json
import zlib
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest
from raw import Connection, Reply, message

IMAGE = {"name": "image", "shape": [1, 1, 4, 4], "datatype": "FP32", "data": [0.5] * 16}
TEXT = [
    {"name": name, "shape": [2, 2], "datatype": "INT64", "data": [[2, 3], [1, 1]]}
    for name in ("input_ids", "attention_mask")
]
TEXT[1] = TEXT[1] | {"data": [[1, 1], [1, 0]]}
SERIES = {"name": "series", "shape": [1, 4, 2], "datatype": "FP32", "data": [0.25] * 8}
LENGTHS = {"name": "lengths", "shape": [1], "datatype": "INT32", "data": [3]}
PIXELS = np.linspace(0, 1, 32, dtype="<f4").reshape(2, 1, 4, 4)
LENGTH = "Inference-Header-Content-Length"


class Case(NamedTuple):
    """A request; the status that it must get, and a part of what the answer must say."""

    body: bytes
    status: int = 200
    says: str = ""
    model: str = "toy-image"
    headers: dict[str, str] = {}  # noqa: RUF012 - never written to


def asked(*inputs: dict, **fields: Any) -> bytes:
    return json.dumps({"inputs": inputs or [IMAGE], **fields}).encode()


def binary(pixels: np.ndarray = PIXELS, lie: int = 0, **fields: Any) -> tuple[bytes, dict]:
    """A body whose tensor is binary, and the header that says where it begins (or lies about it)."""
    tensor = {"name": "image", "shape": list(pixels.shape), "datatype": "FP32"}
    tensor["parameters"] = {"binary_data_size": pixels.nbytes}
    head = asked(tensor, **fields)
    return head + pixels.tobytes(), {LENGTH: str(len(head) + lie)}


def raw(status: int = 200, says: str = "", lie: int = 0, **fields: Any) -> Case:
    body, headers = binary(lie=lie, **fields)
    return Case(body, status, says, headers=headers)


def timed(value: str, status: int = 400, says: str = "a number of milliseconds above 0") -> Case:
    return Case(asked(), status, says, headers={"Request-Timeout-Ms": value})


def parameter(status: int = 400, says: str = "", **parameters: Any) -> Case:
    return Case(asked(parameters=parameters), status, says)


NAN = PIXELS * np.float32("nan")
CASES = {
    "JSON": Case(asked(), says='"probabilities"'),
    "JSON with an id": Case(asked(id="seven"), says='"id":"seven"'),
    "JSON, nested, of several inputs and rows": Case(asked(*TEXT), says="[2,2]", model="toy-text"),
    "JSON of two types": Case(asked(SERIES, LENGTHS), says="[1,2]", model="toy-series"),
    "a version": Case(asked(), says='"model_version":"1"', model="toy-image/versions/1"),
    "one output": Case(asked(outputs=[{"name": "logits"}]), says='"logits"'),
    "outputs in another order": Case(
        asked(outputs=[{"name": "probabilities"}, {"name": "logits"}]),
        says='{"name":"probabilities"',
    ),
    "binary": raw(says='"shape":[2,2]'),
    "binary both ways": raw(parameters={"binary_data_output": True}),
    "one output binary, one not": raw(
        outputs=[{"name": "logits", "parameters": {"binary_data": True}}, {"name": "probabilities"}]
    ),
    "a field that nobody knows": Case(asked(extra=1)),
    "numbers whose squares overflow": Case(asked(IMAGE | {"data": [3e30] * 16})),
    "numbers of many digits": Case(
        asked(IMAGE | {"data": [1 << 64, 10**23, -(1 << 63) - 1, *[1] * 13]})
    ),
    "a timeout that is long": timed("20000", 200, ""),
    "a timeout beyond what the service gives": timed("86399999", 200, ""),
    "a timeout in both ways": Case(
        asked(parameters={"timeout": 20_000_000}), headers={"Request-Timeout-Ms": "2e4"}
    ),
    "a timeout of zero": parameter(200, timeout=0),
    **{f"priority {level}": parameter(200, priority=level) for level in range(4)},
    "unknown model": Case(asked(), 404, "'nobody' is not found", "nobody"),
    "unknown version": Case(asked(), 404, "version 2", "toy-image/versions/2"),
    "an endless version": Case(asked(), 404, "version", f"toy-image/versions/{'1' * 99}"),
    "no JSON": Case(b"{", 400, "failed to parse the request JSON"),
    "no UTF-8": Case(b'{"inputs": "\xff"}', 400, "failed to parse the request JSON"),
    "deep JSON": Case(b'{"inputs":' + b"[" * 100_000, 400, "failed to parse the request JSON"),
    "an array": Case(b"[]", 400, "failed to parse the request JSON"),
    "no body": Case(b"", 400, "failed to parse the request JSON"),
    "no inputs": Case(b'{"inputs": []}', 400, "the request has no inputs"),
    "an input twice": Case(asked(IMAGE, IMAGE), 400, "'image' already exists"),
    "an unknown input": Case(asked(IMAGE | {"name": "x"}), 400, "unexpected input 'x'"),
    "a missing input": Case(asked(SERIES), 400, "'lengths' is missing", "toy-series"),
    "an unknown type": Case(asked(IMAGE | {"datatype": "FP8"}), 400, "datatype 'FP8', known are"),
    "a wrong type": Case(asked(IMAGE | {"datatype": "INT32", "data": [1] * 16}), 400, "type int32"),
    "a wrong shape": Case(asked(IMAGE | {"shape": [1, 16]}), 400, "the model takes [-1, 1, 4, 4]"),
    "a negative axis": Case(asked(IMAGE | {"shape": [-1, -1, 4, 4]}), 400, "an axis is negative"),
    "a huge shape": Case(asked(IMAGE | {"shape": [1 << 40]}), 400, "more than 1,073,741,824"),
    "no rows": Case(asked(IMAGE | {"shape": [0, 1, 4, 4], "data": []}), 400, "[0, 1, 4, 4]"),
    "too many rows": Case(
        asked(IMAGE | {"shape": [65, 1, 4, 4], "data": [0] * 1040}), 413, "65 items, the limit"
    ),
    "too few values": Case(asked(IMAGE | {"data": [1, 2]}), 400, "has 2 values"),
    "strings": Case(asked(IMAGE | {"data": ["1"] * 16}), 400, "values that are not FP32"),
    "NaN in JSON": Case(asked().replace(b"0.5", b"NaN", 1), 400, "NaN or an infinity"),
    "NaN in bytes": Case(*(binary(NAN)[0], 400, "NaN"), headers=binary(NAN)[1]),
    "Infinity in JSON": Case(asked().replace(b"0.5", b"-Infinity", 1), 400, "NaN or an infinity"),
    "a number too large": Case(asked(IMAGE | {"data": [1e39] * 16}), 400, "holds 1e+39, FP32 ends"),
    "neither data nor a size": Case(
        asked({k: IMAGE[k] for k in ("name", "shape", "datatype")}), 400, "exactly one of"
    ),
    "an unknown output": Case(asked(outputs=[{"name": "y"}]), 400, "unexpected output 'y'"),
    "an output twice": Case(asked(outputs=[{"name": "logits"}] * 2), 400, "already exists"),
    "a length that is too short": raw(400, "failed to parse", lie=-1),
    "a length that is too long": raw(400, "failed to parse", lie=1),
    "a length beyond the body": raw(400, "the body has", lie=9999),
    "a length that is no number": Case(asked(), 400, "is 'ten'", headers={LENGTH: "ten"}),
    "a negative length": Case(asked(), 400, "is '-1'", headers={LENGTH: "-1"}),
    "an endless length": Case(asked(), 400, "the body has", headers={LENGTH: "9" * 5000}),
    "a length of nothing": Case(asked(), 400, "of FP32 needs 64", headers={LENGTH: "0"}),
    "bytes that are missing": Case(
        binary()[0][:-3], 400, "expecting 3 additional bytes", headers=binary()[1]
    ),
    "bytes left over": Case(binary()[0] + b"12345", 400, "5 bytes after", headers=binary()[1]),
    "a body in gzip": Case(gzip.compress(asked()), headers={"Content-Encoding": "gzip"}),
    "a body in deflate": Case(zlib.compress(asked()), headers={"Content-Encoding": "deflate"}),
    "a binary body in gzip": Case(
        gzip.compress(binary()[0]), headers=binary()[1] | {"Content-Encoding": "gzip"}
    ),
    "a bomb": Case(
        gzip.compress(bytes(10**8)), 413, "300,000", headers={"Content-Encoding": "gzip"}
    ),
    "a body that is not gzip": Case(b"xyz", 400, "not gzip", headers={"Content-Encoding": "gzip"}),
    "an unknown coding": Case(b"x", 415, "'br'", headers={"Content-Encoding": "br"}),
    "a large answer in gzip": Case(
        asked(IMAGE | {"shape": [64, 1, 4, 4], "data": [0.5] * 1024}),
        headers={"Accept-Encoding": "gzip"},
    ),
    "a small answer that could be compressed": Case(
        asked(), says='"probabilities"', headers={"Accept-Encoding": "gzip, deflate"}
    ),
    "classes": Case(
        asked(outputs=[{"name": "logits", "parameters": {"classification": 2}}]),
        says='["5.000000:0:light","5.000000:1:dark"]',
    ),
    "classes of nothing": Case(
        asked(outputs=[{"name": "logits", "parameters": {"classification": 0}}]), says='"FP32"'
    ),
    "classes that are no number": Case(
        asked(outputs=[{"name": "logits", "parameters": {"classification": "2"}}]),
        400,
        "classification '2'",
    ),
    "a tensor alone": Case(PIXELS[:1].tobytes(), headers={LENGTH: "0"}),
    "a reserved parameter": parameter(says="reserved", triton_enable=True),
    "a form that is no truth": parameter(says="true or false", binary_data_output="yes"),
    "a body as it is": Case(asked(), headers={"Content-Encoding": "identity"}),
    **{
        f"Request-Timeout-Ms: {value}": timed(value)
        for value in ("", "0", "-5", "soon", "nan", "inf", "1e400", "1_000", "86400000", "9" * 999)
    },
    **{
        f"parameters.timeout: {value!r:.9}": parameter(says="'timeout'", timeout=value)
        for value in (-1, 1.5, "1", True, 1 << 64, 10**400)
    },
    **{
        f"parameters.priority: {value!r:.9}": parameter(says="'priority'", priority=value)
        for value in (-1, 4, 1.5, "1", True, 10**400)
    },
    "a number of many digits": Case(
        asked(parameters={"timeout": 7}).replace(b"7", b"7" * 5000), 400, ""
    ),
    "a body over the limit": Case(b" " * 300_001, 413, ""),
}


def compared(reply: Reply) -> tuple[Any, ...]:
    """What must be the same whoever answers: everything but what is new in every answer."""
    own = ("date", "prediction-id", "server-timing")
    headers = {name: value for name, value in reply.headers.items() if name not in own}
    return reply.status, {name for name in own if name in reply.headers}, headers, reply.body


@pytest.mark.parametrize("case", CASES)
async def test_a_request_gets_the_same_answer_whoever_hears_it(url: str, case: str):
    body, status, says, model, headers = CASES[case]
    path = f"/v2/models/{model}/infer"
    async with Connection(url) as client:
        hot = await client.ask(message(path, body, headers))
        chunked = await client.ask(message(path, b"", headers, chunks=[body] if body else []))
        expecting = await client.ask(message(path, body, headers | {"Expect": "100-continue"}))
    assert hot.status == status, hot.body
    assert says.encode() in hot.body
    assert ("content-encoding" in hot.headers) == (case == "a large answer in gzip")
    assert (status == 200) == ("prediction-id" in hot.headers)
    if status != 200:
        assert list(json.loads(hot.body)) == ["error"]
    assert compared(chunked) == compared(hot)
    assert compared(expecting) == compared(hot)


async def test_of_a_header_that_is_there_twice_both_read_the_same(url: str):
    twice = "Request-Timeout-Ms: 20000\r\nRequest-Timeout-Ms: never\r\n\r\n"
    path, body = "/v2/models/toy-image/infer", asked()
    async with Connection(url) as client:
        replies = [
            await client.ask(one.replace(b"\r\n\r\n", f"\r\n{twice}".encode(), 1))
            for one in (message(path, body), message(path, chunks=[body]))
        ]
    assert compared(replies[0]) == compared(replies[1])


async def test_a_body_over_the_limit_is_refused_before_it_came(url: str):
    head = message("/v2/models/toy-image/infer", b" " * 300_001)[:-300_001]
    async with Connection(url) as client:
        reply = await client.ask(head)
    assert (reply.status, list(json.loads(reply.body))) == (413, ["error"])


async def test_a_body_without_a_length_is_refused_once_it_is_over_the_limit(url: str):
    endless = message("/v2/models/toy-image/infer", chunks=[b" " * 100_000] * 4)[
        : -len("0\r\n\r\n")
    ]
    async with Connection(url) as client:
        reply = await client.ask(endless)
    assert (reply.status, list(json.loads(reply.body))) == (413, ["error"])


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
async def test_only_post_infers(url: str, method: str):
    async with Connection(url) as client:
        await client.send(message("/v2/models/toy-image/infer", method=method))
        reply = await client.reply(head=method == "HEAD")
        assert reply.status == 405
        assert "POST" in reply.headers["allow"]
        assert (await client.ask(message("/v2/models/toy-image/infer", asked()))).status == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/toy-image/infer/", 200),
        ("/v2/models/toy%2Dimage/infer", 200),
        ("/v2/models/toy-image/infer?a=b", 200),
        ("/v2/models/toy-image/%69nfer", 200),
        ("/v2/models/a%2Fb/infer", 404),
        ("/v2/models/%20/infer", 404),
        ("/v2/models/%FF/infer", 404),
        ("/v2/models/../infer", 404),
        ("/v2/models//infer", 405),  # slashes in a row are one: the metadata of "infer"
        ("/v2/models/toy-image/versions//infer", 405),
        ("/v2/models/toy-image/infer/more", 404),
    ],
)
async def test_paths_mean_what_they_say(url: str, path: str, status: int):
    async with Connection(url) as client:
        reply = await client.ask(message(path, asked()))
        assert reply.status == status, reply.body
        if status != 200:
            assert list(json.loads(reply.body)) == ["error"]
        assert (await client.ask(message("/v2/models/toy-image/infer", asked()))).status == 200


async def test_a_request_is_counted_once_by_how_it_ended_whoever_heard_it(url: str):
    def counts() -> dict[str, float]:
        lines = httpx.get(f"{url}/metrics").text.splitlines()
        return {
            line.partition('status="')[2].partition('"')[0]: float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith('inference_requests_total{api="v2",model="toy-series"')
        }

    before = counts()
    path = "/v2/models/toy-series/infer"
    async with Connection(url) as client:
        for body in (asked(SERIES, LENGTHS), asked(SERIES)):
            await client.ask(message(path, body))
            await client.ask(message(path, chunks=[body]))
    after = counts()
    assert {status: after[status] - before.get(status, 0) for status in after} == {
        "ok": 2,
        "InputError": 2,
    }
