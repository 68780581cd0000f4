"""Heads within limits: long, many and endless ones are refused, and what follows them is nobody's request."""

import asyncio
import contextlib

import pytest
from bounding import answered, last, lines, serving
from raw import Connection, message


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        (lines(101, 1), "/v1/x"),
        (lines(20, 500), "/v1/x"),
        (lines(1, 5000), "/v2/x"),
        (lines(1, 2_000_000), "/v2/x"),
        ({"Y" * 5000: "y"}, "/v2/x"),
        ({}, "/v2/" + "x" * 5000),
    ],
    ids=["many", "long together", "long", "endless", "a long name", "a long address"],
)
@pytest.mark.parametrize("piece", [700, 1_000_000])
async def test_a_head_that_is_too_long_is_refused_before_it_is_read_to_its_end(
    headers: dict[str, str], path: str, piece: int
):
    sent = message(path, b"abc", headers)
    async with serving(header_bytes=4096) as server, Connection(server.url) as client:
        with contextlib.suppress(ConnectionError):
            await client.send(*(sent[at : at + piece] for at in range(0, len(sent), piece)))
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            reply = await client.reply()
            assert (reply.status, reply.headers["connection"]) == (431, "close")
            assert b"the limit is 4,096 bytes in 100 headers" in reply.body
        assert server.closed() == {"headers": 1}
        await answered(server)


async def test_a_head_that_never_ends_is_refused():
    async with serving(header_bytes=4096) as server, Connection(server.url) as client:
        endless = b"x" * 1000
        with contextlib.suppress(ConnectionError):
            await client.send(b"POST / HTTP/1.1\r\nX-Long: ", *[endless] * 3)
            while not server.closed():
                await client.send(endless)
                await asyncio.sleep(0.001)
        assert server.closed() == {"headers": 1}
        await answered(server)


async def test_a_head_within_its_limits_may_come_with_a_large_body():
    async with serving(header_bytes=4096) as server, Connection(server.url) as client:
        sent = message("/", bytes(300_000), lines(90, 10))
        assert (await client.ask(sent)).body == b"300000"


async def test_what_follows_a_refused_head_is_nobodys_request():
    async with serving(headers=3) as server, Connection(server.url) as client:
        await client.send(message("/", b"abc", lines(9, 1)) + message("/", b"smuggled"))
        assert (await last(client)).status == 431
        assert server.entered.locked()
