"""Requests that end where they should not. Each is refused in a sentence, and the service lives on within its memory."""

import json
from collections.abc import Mapping

import pytest
from hostile import PLACES, Service, asked, refused
from raw import Connection, message

pytestmark = pytest.mark.system


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
