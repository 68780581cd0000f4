"""Bodies that travel compressed: gzip, and deflate, by which HTTP means zlib's format. Pure; it must not know what is in them.

What is unpacked is bounded while it is unpacked, so that a few kilobytes cannot become gigabytes.
"""

import asyncio
import functools
import zlib

from models.errors import Malformed, TooLarge
from service.errors import UnsupportedCoding

CODINGS = {"gzip": 31, "deflate": 15}
"""Each coding, the preferred one first, with zlib's number for it."""
SMALLEST = 1024
"""Bytes of an answer from which compressing it is worth anything: what is smaller travels in one packet either way."""
LEVEL = 1
"""Tensors hardly shrink, and what does is text, of which the first level takes most."""
OFF_LOOP = 4096, 65_536
"""Bytes of a body to unpack, and of an answer to pack, from which a thread does it: both take about a millisecond then."""


async def unpacked(body: bytes, coding: str, most: int) -> bytes:
    """What `body` is without its coding. UnsupportedCoding, TooLarge beyond `most` bytes, or Malformed."""
    if coding == "identity":
        return body
    if len(body) < OFF_LOOP[0]:
        return decompressed(body, coding, most)
    return await asyncio.to_thread(decompressed, body, coding, most)


def decompressed(body: bytes, coding: str, most: int) -> bytes:
    """As `unpacked`, at once."""
    known = CODINGS.get(coding.strip().lower())
    if known is None:
        raise UnsupportedCoding(
            f"Content-Encoding '{coding[:40]}' is not supported, known are {', '.join(CODINGS)}"
        )
    reader = zlib.decompressobj(known)
    try:
        data = reader.decompress(body, most + 1)
    except zlib.error as error:
        raise Malformed(f"the body is not {coding}: {error}") from error
    if len(data) > most:
        raise TooLarge(
            f"the body has more than {most:,} bytes when decompressed, which is the limit"
        )
    if not reader.eof:
        raise Malformed(f"the body is cut off: its {coding} data have no end")
    if (
        reader.unused_data
    ):  # gzip may go on there; reading on would cost the square of how often it does
        raise Malformed(f"the body has {len(reader.unused_data)} bytes after its {coding} data")
    return data


async def packed(answer: bytes, accepted: str) -> tuple[bytes, str | None]:
    """`answer` in the coding that `accepted` (Accept-Encoding) prefers, and its name; as it is where that is as well, or no longer."""
    coding = preferred(accepted)
    if coding is None or len(answer) < SMALLEST:
        return answer, None
    if len(answer) < OFF_LOOP[1]:
        smaller = compressed(answer, coding)
    else:
        smaller = await asyncio.to_thread(compressed, answer, coding)
    return (smaller, coding) if len(smaller) < len(answer) else (answer, None)


def compressed(data: bytes, coding: str) -> bytes:
    """`data` in one of CODINGS."""
    writer = zlib.compressobj(LEVEL, zlib.DEFLATED, CODINGS[coding])
    return writer.compress(data) + writer.flush()


@functools.lru_cache(maxsize=64)
def preferred(accepted: str) -> str | None:
    """The coding that an Accept-Encoding header likes best, None where an answer is to stay as it is."""
    liked: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, _, parameters = part.partition(";")
        liked[name.strip()] = quality(parameters)
    rest = liked.get("*", 0.0)
    best = max(CODINGS, key=lambda coding: liked.get(coding, rest))
    likes = liked.get(best, rest)
    return best if likes > 0 and likes >= liked.get("identity", 0.0) else None


def quality(parameters: str) -> float:
    """The number behind "q=", 1 without one, 0 where it is none."""
    name, _, value = parameters.strip().partition("=")
    if not name:
        return 1.0
    try:
        number = float(value)
    except ValueError:
        return 0.0
    return number if name.strip() == "q" and 0 <= number <= 1 else 0.0
