"""Bodies that unpack, nest and pretend. Each is refused in a sentence, and the service lives on within its memory."""

import gzip
import struct
import zlib

import pytest
from hostile import (
    DEEP,
    JSON,
    LIMIT,
    PLACES,
    PREDICT,
    Service,
    picture,
    refused,
)
from raw import Connection, message

pytestmark = pytest.mark.system


def zipped(data: bytes, times: int = 1) -> bytes:
    for _ in range(times):
        data = gzip.compress(data)
    return data


GZIP = {"Content-Encoding": "gzip"}
ZEROS = zipped(bytes(1 << 28))


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
