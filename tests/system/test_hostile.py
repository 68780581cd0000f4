"""What nobody sends by mistake, over real sockets: each is refused in a sentence, and the service lives on within its memory."""

import gzip
import io
import json
import shutil
import struct
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import live
import oddities
import pytest
from PIL import Image
from raw import Connection, Reply, message

pytestmark = pytest.mark.system

COMMITTED = Path(__file__).parents[2] / "models" / "repository"
LIMIT = 300_000
GROWTH_MB = 150
"""What all of this together may leave in a process: an allocator keeps some of what it was given."""

JSON = {"Content-Type": "application/json"}
PNG = {"Content-Type": "image/png"}
INFER, PREDICT = "/v2/models/bare/infer", "/v1/models/fashion-cnn/predict"
SERIES = "/v1/models/activity-lstm/predict"
DEEP = 250_000


class Service(NamedTuple):
    """A running service, its processes, and the memory that each held before anybody was unkind."""

    url: str
    held: dict[int, int]


def resident(pid: int) -> int:
    """Megabytes of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 >> 20


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Two committed models and a bare one; beside them names that lead out of the repository."""
    folder = tmp_path_factory.mktemp("hostile")
    root = folder / "repository"
    for name in ("fashion-cnn", "activity-lstm"):
        shutil.copytree(COMMITTED / name, root / name)
    oddities.save(root, oddities.linear(), "bare")
    outside = oddities.save(folder / "outside", oddities.linear(), "secret")
    (root / "linked-version").mkdir()
    (root / "linked-version" / "1").symlink_to(outside)
    (root / "linked-file" / "1").mkdir(parents=True)
    (root / "linked-file" / "1" / "model.onnx").symlink_to(outside / "model.onnx")
    (root / "linked-model").symlink_to(outside.parent)
    with live.serving(
        root,
        folder,
        max_body_bytes=str(LIMIT),
        serve="fashion-cnn,activity-lstm,bare",
    ) as program:
        control = program.process.pid
        pids = [control, *live.children(control, "service.frontend")]
        pids += live.children(control, "service.engine.worker")
        yield Service(program.said, {pid: resident(pid) for pid in pids})


@pytest.fixture(autouse=True)
def unharmed(service: Service) -> Iterator[None]:
    """After each test every model answers, by the same processes, which have not grown."""
    yield
    with httpx.Client(base_url=service.url, timeout=live.PATIENCE) as client:
        assert client.get("/v2/health/live").json() == {"live": True}
        answer = client.post(INFER, json=asked([1.0, 2.0, 3.0]))
        assert answer.json()["outputs"][0]["data"] == [16.5, 21.5]
        assert client.post(PREDICT, content=picture(), headers=PNG).status_code == 200
        assert client.post(SERIES, json={"series": [[0.0] * 6] * 150}).status_code == 200
    for pid, before in service.held.items():
        assert resident(pid) < before + GROWTH_MB


def asked(data: Any, shape: Any = (1, 3), **more: Any) -> dict[str, Any]:
    return {"inputs": [{"name": "x", "shape": shape, "datatype": "FP32", "data": data, **more}]}


def picture(kind: str = "PNG", size: tuple[int, int] = (28, 28), **how: Any) -> bytes:
    file = io.BytesIO()
    Image.new("L", size).save(file, kind, **how)
    return file.getvalue()


async def refused(service: Service, sent: bytes, *, says: str = "") -> Reply:
    """The answer, which has to be the caller's fault and a sentence."""
    async with Connection(service.url) as connection:
        await connection.send(sent)
        reply = await connection.reply()
    assert 400 <= reply.status < 500, (reply.status, reply.body[:300])
    told = json.loads(reply.body)
    sentence = told["error"] if "error" in told else told["detail"]
    assert 8 < len(sentence) < 1100, sentence[:200]
    assert says in sentence
    return reply


# -------------------------------------------------------------------------------------------------------------------- names

NAMES = {
    "up": "..",
    "far up": "../../../../etc/passwd",
    "up, in code": "%2e%2e",
    "up, in code twice": "%252e%252e%252f",
    "far up, in code": "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "up with a backslash": "..%5c..%5cetc",
    "absolute": "%2Fetc%2Fpasswd",
    "NUL": "%00",
    "NUL behind a name": "bare%00.png",
    "a line feed": "bare%0A",
    "a header": "bare%0d%0aX-Injected:%20yes",
    "very long": "a" * 5000,
    "long in code": "%61" * 5000,
    "a dot": "%2e",
    "hidden": ".fetched.json",
    "no UTF-8": "%FF%FE",
    "half a surrogate": "%ED%A0%80",
    "an emoji": "%F0%9F%92%A9",
    "full-width dots": "%EF%BC%8E%EF%BC%8E",
    "a space": "%20",
    "a folder of the registry": "aliases",
    "another root": "~root",
    "a percent sign alone": "%",
    "a link to a version": "linked-version",
    "a link to a file": "linked-file",
    "a link to a model": "linked-model",
    "a model outside": "secret",
}
BY_NAME = (
    ("GET", "/v1/models/{}"),
    ("POST", "/v1/models/{}/predict"),
    ("POST", "/v1/models/{}/promotions"),
    ("POST", "/v1/models/{}/rollback"),
    ("PUT", "/v1/models/{}/traffic"),
    ("GET", "/v2/models/{}"),
    ("GET", "/v2/models/{}/ready"),
    ("GET", "/v2/models/{}/config"),
    ("GET", "/v2/models/{}/stats"),
    ("POST", "/v2/models/{}/infer"),
    ("POST", "/v2/models/{}/versions/1/infer"),
    ("GET", "/v2/models/{}/versions/1"),
    ("POST", "/v2/repository/models/{}/load"),
    ("POST", "/v2/repository/models/{}/unload"),
)
LINKS = ("linked-version", "linked-file", "linked-model")
HARMLESS_FOR_LINKS = (
    "/v1/models/{}",
    "/v1/models/{}/traffic",
    "/v2/repository/models/{}/unload",
)
"""They are models whose versions cannot be had: that may be told, and nothing of them is there to be taken away."""


@pytest.mark.parametrize("case", NAMES)
async def test_no_name_leads_anywhere(service: Service, case: str):
    name = NAMES[case]
    for method, path in BY_NAME:
        body = json.dumps({"version": 1} if "promotions" in path else {}).encode()
        if name in LINKS and path in HARMLESS_FOR_LINKS:
            continue
        headers = JSON | {"Content-Length": str(len(body))}
        if method == "POST":
            del headers["Content-Length"]
        sent = message(path.format(name), body, headers, method=method)
        reply = await refused(service, sent)
        assert b"root:" not in reply.body
        assert "x-injected" not in reply.headers
    listed = httpx.get(f"{service.url}/v2/models", timeout=live.PATIENCE).json()["models"]
    assert "secret" not in listed


VERSIONS = ("..", "%2e%2e", "-1", "0", "1e3", "1.0", "9" * 40, "%D9%A1", "1%00", "+1", "1_0", "%20")


@pytest.mark.parametrize("version", VERSIONS)
async def test_no_version_is_anything_but_a_number(service: Service, version: str):
    for method, end in (("GET", ""), ("GET", "/ready"), ("GET", "/config"), ("POST", "/infer")):
        path = f"/v2/models/bare/versions/{version}{end}"
        body = json.dumps(asked([1, 2, 3])).encode() if method == "POST" else b""
        await refused(service, message(path, body, method=method))


@pytest.mark.parametrize("version", [-1, 0, 2**63, 2**200, 1.5, "1", "../1", True, None, [1], {}])
async def test_no_body_names_a_version_that_cannot_be(service: Service, version: object):
    promotion = json.dumps({"version": version}).encode()
    await refused(service, message("/v1/models/bare/promotions", promotion, JSON))
    if version is not None:  # the champion is meant
        load = json.dumps({"parameters": {"version": version}}).encode()
        if not isinstance(version, str) or version != "1":
            await refused(service, message("/v2/repository/models/bare/load", load, JSON))


@pytest.mark.parametrize("number", [b"9" * 4000, b"9" * 100_000, b"1e400", b"-" + b"9" * 5000])
async def test_no_number_is_too_long_to_be_refused(service: Service, number: bytes):
    for path, start in (
        ("/v1/models/bare/promotions", b'{"version":'),
        ("/v2/repository/models/bare/load", b'{"parameters":{"version":'),
        (INFER, b'{"parameters":{"timeout":'),
        (SERIES, b'{"series":{"a":'),
    ):
        await refused(service, message(path, start + number + b"}" * start.count(b"{"), JSON))


# ------------------------------------------------------------------------------------------------------------------ tensors


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


# ------------------------------------------------------------------------------------------------------------------- bodies


def zipped(data: bytes, times: int = 1) -> bytes:
    for _ in range(times):
        data = gzip.compress(data)
    return data


GZIP = {"Content-Encoding": "gzip"}
ZEROS = zipped(bytes(1 << 28))
PLACES = {INFER: {}, PREDICT: PNG, SERIES: JSON}


@pytest.mark.parametrize("path", PLACES)
@pytest.mark.parametrize(
    ("body", "coding"),
    [
        (ZEROS, "gzip"),
        (zipped(ZEROS), "gzip"),
        (zlib.compress(bytes(1 << 26)), "deflate"),
        (ZEROS[:-9], "gzip"),
        (zipped(b"{}") * 5000, "gzip"),
        (b"{}", "gzip"),
        (b"{}", "gzip, gzip, gzip"),
        (b"{}", "zstd"),
        (b"{}", "x" * 5000),
    ],
    ids=["bomb", "nested", "deflate", "cut", "members", "lie", "thrice", "unknown", "long"],
)
async def test_no_bomb_goes_off(service: Service, path: str, body: bytes, coding: str):
    await refused(service, message(path, body, {**PLACES[path], "Content-Encoding": coding}))


DEEP_PLACES = (
    "/v1/models/activity-lstm/predict",
    "/v1/models/bare/promotions",
    "/v1/models/bare/rollback",
    "/v2/repository/index",
    "/v2/repository/models/bare/load",
    "/v2/repository/models/bare/unload",
    "/v2/models/bare/trace/setting",
    "/v2/logging",
)


@pytest.mark.parametrize("path", DEEP_PLACES)
@pytest.mark.parametrize("start", [b"[", b'{"a":', b'{"parameters":[', b'{"series":['])
async def test_no_depth_is_deep_enough(service: Service, path: str, start: bytes):
    await refused(service, message(path, start + b"[" * (DEEP - 10), JSON))
    await refused(service, message(path, start + b'{"a":' * (LIMIT // 6), JSON))


def chunk(start: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + start + data + struct.pack(">I", zlib.crc32(start + data))


def with_chunk(start: bytes, data: bytes) -> bytes:
    """A picture with one more part, in front of its pixels."""
    whole = picture()
    return whole[:33] + chunk(start, data) + whole[33:]


def sized(width: int, height: int) -> bytes:
    whole = picture()
    return whole[:8] + chunk(b"IHDR", struct.pack(">II", width, height) + whole[24:29]) + whole[33:]


PICTURES = {
    "3,600 million pixels": (sized(60_000, 60_000), "PNG"),
    "as many as there are numbers": (sized(2**31 - 1, 2**31 - 1), "PNG"),
    "one row of a billion": (sized(10**9, 1), "PNG"),
    "no pixels": (sized(0, 0), "PNG"),
    "a text of a gigabyte": (with_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 26))), "PNG"),
    "colours of a gigabyte": (with_chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 26))), "PNG"),
    "a part that ends nowhere": (picture()[:33] + struct.pack(">I", 2**31) + b"IDAT" + b"x", "PNG"),
    "pixels that go on": (picture()[:33] + chunk(b"IDAT", zlib.compress(bytes(1 << 26))), "PNG"),
    "half a JPEG": (picture("JPEG", (400, 400))[:300], "JPEG"),
    "a JPEG of 65,500 x 65,500": (
        picture("JPEG").replace(struct.pack(">HH", 28, 28), struct.pack(">HH", 65_500, 65_500)),
        "JPEG",
    ),
    "noise behind a WebP's name": (b"RIFF\xff\xff\xff\xffWEBPVP8L" + bytes(50), "WEBP"),
}
HARMLESS = ("a text of a gigabyte", "colours of a gigabyte", "pixels that go on")
"""Nobody has to unpack what no pixel needs; the picture may be answered."""


@pytest.mark.parametrize("case", PICTURES)
async def test_no_picture_is_unpacked_beyond_its_pixels(service: Service, case: str):
    content, kind = PICTURES[case]
    sent = message(PREDICT, content, {"Content-Type": f"image/{kind.lower()}"})
    if case not in HARMLESS:
        await refused(service, sent)
        return
    async with Connection(service.url) as connection:
        assert (await connection.ask(sent)).status in (200, 422)


def part(headers: str, content: bytes = b"x") -> bytes:
    return b"--b\r\n" + headers.encode() + b"\r\n\r\n" + content + b"\r\n"


FILE = 'Content-Disposition: form-data; name="file"; filename="../../etc/passwd"'
FORMS: dict[str, tuple[str, bytes]] = {
    "no boundary": ("multipart/form-data", part(FILE)),
    "an empty boundary": ("multipart/form-data; boundary=", part(FILE)),
    "another boundary": ("multipart/form-data; boundary=c", part(FILE)),
    "a boundary of 10,000": (f"multipart/form-data; boundary={'b' * 10_000}", part(FILE)),
    "no end": ("multipart/form-data; boundary=b", part(FILE)),
    "a part without headers": ("multipart/form-data; boundary=b", part("") + b"--b--\r\n"),
    "headers without end": ("multipart/form-data; boundary=b", b"--b\r\n" + b"a: b\r\n" * 40_000),
    "one long header": ("multipart/form-data; boundary=b", b"--b\r\na: " + b"c" * 290_000),
    "ten thousand parts": (
        "multipart/form-data; boundary=b",
        part(FILE, b"") * 3000 + b"--b--\r\n",
    ),
    "a name that is none": (
        "multipart/form-data; boundary=b",
        part('Content-Disposition: form-data; name="file\udcff"'.replace("\udcff", "%FF"))
        + b"--b--\r\n",
    ),
    "a charset nobody knows": (
        "multipart/form-data; boundary=b",
        part(
            'Content-Disposition: form-data; name="file"\r\nContent-Type: text/plain; charset=nope'
        )
        + b"--b--\r\n",
    ),
    "a form in a form": (
        "multipart/form-data; boundary=b",
        part(FILE + "\r\nContent-Type: multipart/mixed; boundary=b", part(FILE)) + b"--b--\r\n",
    ),
    "a file that is no picture": ("multipart/form-data; boundary=b", part(FILE) + b"--b--\r\n"),
}


@pytest.mark.parametrize("case", FORMS)
async def test_no_form_is_believed(service: Service, case: str):
    kind, body = FORMS[case]
    await refused(service, message(PREDICT, body, {"Content-Type": kind}))


# --------------------------------------------------------------------------------------------------------------------- HTTP


def lines(path: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join([f"POST {path} HTTP/1.1", "Host: t", *headers, "", ""]).encode() + body


GOOD = json.dumps(asked([1, 2, 3])).encode()
LENGTHS = ("-1", "abc", "+5", "1e3", "0x10", "99999999999999999999999", "5, 6", "")


@pytest.mark.parametrize("path", PLACES)
@pytest.mark.parametrize("length", LENGTHS)
async def test_no_length_is_taken_that_is_none(service: Service, path: str, length: str):
    await answered_or_closed(service, lines(path, f"Content-Length: {length}", body=GOOD))


@pytest.mark.parametrize("path", PLACES)
async def test_no_two_lengths_smuggle_a_request(service: Service, path: str):
    inner = lines("/v1/models/bare/rollback", "Content-Length: 0")
    for headers in (
        (f"Content-Length: {len(GOOD)}", "Content-Length: 0"),
        ("Content-Length: 4", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding: xchunked",),
    ):
        await answered_or_closed(service, lines(path, *headers, body=GOOD + inner))


async def answered_or_closed(service: Service, sent: bytes) -> None:
    """A refusal, or the end of the connection: never an answer as if nothing had been odd."""
    async with Connection(service.url) as connection:
        await connection.send(sent)
        connection.writer.write_eof()
        try:
            reply = await connection.reply()
        except (EOFError, ConnectionError):
            return
    assert 400 <= reply.status < 500, (reply.status, reply.body[:200])


@pytest.mark.parametrize("path", PLACES)
async def test_who_promises_more_than_comes_harms_nobody(service: Service, path: str):
    async with Connection(service.url) as connection:
        await connection.send(lines(path, "Content-Length: 200000", body=GOOD))
    await refused(service, lines(path, f"Content-Length: {10**12}", body=GOOD))


@pytest.mark.parametrize("path", PLACES)
async def test_no_number_of_chunks_is_beyond_the_limit(service: Service, path: str):
    pieces = message(path, headers=PLACES[path], chunks=[b" " * 1000] * 400)
    await refused(service, pieces[: -len(b"0\r\n\r\n")])
    await refused(service, message(path, headers=PLACES[path], chunks=[b"x"] * 65_537))


@pytest.mark.parametrize("path", [*PLACES, "/v1/models"])
@pytest.mark.parametrize(
    "headers",
    [{f"X-{n}": "y" for n in range(20_000)}, {"X": "y" * 2_000_000}, {"Y" * 1_000_000: "x"}],
    ids=["many", "long", "long name"],
)
async def test_no_headers_fill_the_memory(service: Service, path: str, headers: Mapping[str, str]):
    async with Connection(service.url) as connection:
        try:
            await connection.send(message(path, b"{}", headers))
            reply = await connection.reply()
        except (EOFError, ConnectionError):
            return
    assert 400 <= reply.status < 500
