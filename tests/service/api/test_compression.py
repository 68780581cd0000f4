"""Compressed bodies: what comes back is what went in, and never more than the limit is unpacked."""

import asyncio
import gzip
import random
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import Malformed, TooLarge
from service.api import compression
from service.errors import UnsupportedCoding

PACK = {"gzip": gzip.compress, "deflate": zlib.compress}


@pytest.mark.parametrize("coding", PACK)
@given(data=st.binary(max_size=3000))
def test_what_was_packed_is_unpacked(coding: str, data: bytes):
    assert compression.decompressed(PACK[coding](data), coding, 3000) == data


@pytest.mark.parametrize("coding", PACK)
@pytest.mark.parametrize("size", [99, 100, 101, 10_000])
def test_more_than_the_limit_is_refused_without_unpacking_it(coding: str, size: int):
    packed = PACK[coding](bytes(size))
    if size <= 100:
        assert compression.decompressed(packed, coding, 100) == bytes(size)
        return
    with pytest.raises(TooLarge, match="more than 100 bytes when decompressed"):
        compression.decompressed(packed, coding, 100)


@pytest.mark.parametrize("coding", PACK)
def test_a_bomb_never_takes_more_memory_than_the_limit(coding: str):
    bomb = PACK[coding](bytes(50_000_000))
    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            compression.decompressed(bomb, coding, 1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("coding", PACK)
@given(noise=st.binary(max_size=60))
def test_anything_else_is_malformed(coding: str, noise: bytes):
    with pytest.raises(Malformed):
        compression.decompressed(noise, coding, 1000)


@pytest.mark.parametrize("coding", PACK)
def test_a_body_that_is_cut_off_or_goes_on_is_malformed(coding: str):
    packed = PACK[coding](b"some bytes that are long enough")
    with pytest.raises(Malformed, match="cut off"):
        compression.decompressed(packed[:-1], coding, 1000)
    with pytest.raises(Malformed, match="7 bytes after"):
        compression.decompressed(packed + b"and on.", coding, 1000)


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "", "x" * 500])
def test_an_unknown_coding_is_named(coding: str):
    with pytest.raises(UnsupportedCoding, match="known are gzip, deflate"):
        compression.decompressed(b"x", coding, 1000)


async def test_a_large_body_is_unpacked_off_the_loop():
    body = bytes(range(256)) * 40_000
    packed = gzip.compress(body)
    assert len(packed) > compression.OFF_LOOP[0]
    assert await compression.unpacked(packed, "GZip", len(body)) == body
    with pytest.raises(TooLarge):
        await compression.unpacked(packed, "gzip", len(body) - 1)
    assert await compression.unpacked(b"as it is", "identity", 3) == b"as it is"


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate", "gzip"),
        ("deflate, gzip;q=0.5", "deflate"),
        ("GZIP;Q=1.0", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=0, *", "deflate"),
        ("*", "gzip"),
        ("*;q=0", None),
        ("identity", None),
        ("identity, gzip;q=0.5", None),
        ("identity;q=0.5, gzip", "gzip"),
        ("br", None),
        ("", None),
        ("gzip;q=two", None),
        ("gzip;q=nan", None),
        ("gzip;q=7", None),
        (";;;,,=", None),
    ],
)
def test_the_coding_that_is_liked_best_is_taken(accepted: str, coding: str | None):
    assert compression.preferred(accepted) == coding


@given(accepted=st.text(max_size=50))
def test_no_header_is_too_odd(accepted: str):
    assert compression.preferred(accepted) in (None, *compression.CODINGS)


@pytest.mark.parametrize("size", [2000, 200_000])
@pytest.mark.parametrize(
    ("coding", "unpack"), [("gzip", gzip.decompress), ("deflate", zlib.decompress)]
)
def test_an_answer_is_packed_as_asked(size: int, coding: str, unpack):
    packed, used = asyncio.run(compression.packed(b"0.25," * (size // 5), coding))
    assert (used, unpack(packed)) == (coding, b"0.25," * (size // 5))


NOISE = random.Random(1).randbytes(5000)


@pytest.mark.parametrize(
    ("answer", "accepted"), [(b"0" * 100, "gzip"), (b"0" * 5000, "br"), (NOISE, "gzip")]
)
def test_an_answer_that_gains_nothing_stays_as_it_is(answer: bytes, accepted: str):
    assert asyncio.run(compression.packed(answer, accepted)) == (answer, None)
