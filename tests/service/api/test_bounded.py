"""Clients that are slow, silent or deaf, over real sockets: each is ended in its time, and nobody else notices."""

import asyncio
import contextlib
import socket

import pytest
from bounding import LARGE, SOON, answered, last, serving
from raw import Connection, message


async def test_who_says_nothing_is_closed():
    async with serving(header_timeout_s=SOON) as server, Connection(server.url) as silent:
        assert await silent.ended()
        await answered(server)
        assert server.closed() == {"slow headers": 1}


@pytest.mark.parametrize("first", [b"POST /", b"POST / HTTP/1.1\r\nHost: t\r\nX-Slow: "])
async def test_a_head_that_drips_is_ended_by_an_answer(first: bytes):
    async with serving(header_timeout_s=SOON) as server, Connection(server.url) as slow:
        assert (await slow.ask(message("/", b"abc"))).status == 200
        await slow.send(first)

        async def drip() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    await slow.send(b"x")
                    await asyncio.sleep(SOON / 10)

        dripping = asyncio.create_task(drip())
        reply = await slow.reply()
        dripping.cancel()
        assert (reply.status, reply.headers["connection"]) == (408, "close")
        assert b"headers of the request did not come within 0.3 s" in reply.body
        assert server.closed() == {"slow headers": 1}
        await answered(server)


async def test_blank_lines_keep_no_connection():
    async with serving(header_timeout_s=SOON) as server, Connection(server.url) as client:
        assert (await client.ask(message("/", b"abc"))).status == 200

        async def drip() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    await client.send(b"\r\n")
                    await asyncio.sleep(SOON / 10)

        dripping = asyncio.create_task(drip())
        with contextlib.suppress(ConnectionError):  # lines that it has not read any more reset it
            assert await client.ended()
        dripping.cancel()
        assert server.closed() == {"slow headers": 1}


async def test_a_body_that_drips_is_ended_and_its_application_hears_that_the_client_has_gone():
    async with serving(body_timeout_s=SOON) as server, Connection(server.url) as slow:
        await slow.send(message("/", bytes(1000))[:-900])
        reply = await last(slow)
        assert reply.status == 408
        assert b"body of the request did not come within 0.3 s" in reply.body
        assert server.closed() == {"slow body": 1}
        await answered(server)


async def test_a_body_that_came_fast_and_then_rests_does_not_hold_its_memory():
    async with serving(body_timeout_s=SOON, body_bytes_per_s=100) as server:
        async with Connection(server.url) as holder:
            await holder.send(message("/", bytes(50_000))[:-1])
            assert (await last(holder)).status == 408
            assert server.closed() == {"slow body": 1}
        await answered(server)


@pytest.mark.parametrize("trailer", [b"X-Long: " + bytes(500).hex().encode(), b"X-T: t\r\n" * 100])
async def test_trailers_that_never_end_are_refused(trailer: bytes):
    async with serving(header_bytes=4096) as server, Connection(server.url) as client:
        whole = message("/", chunks=[b"abc"])
        with contextlib.suppress(ConnectionError):
            await client.send(whole[: -len(b"\r\n")])
            while not server.closed():
                await client.send(trailer)
                await asyncio.sleep(0.001)
        assert server.closed() == {"headers": 1}
        await answered(server)


async def test_trailers_are_nobodys_headers():
    async with serving() as server, Connection(server.url) as client:
        await client.send(message("/slow", chunks=[b"abc"])[: -len(b"0\r\n\r\n")])
        while server.headers is None:
            await asyncio.sleep(0)
        before = list(server.headers)
        await client.send(b"0\r\nAuthorization: Bearer x\r\n\r\n")
        await server.entered.acquire()
        assert server.headers == before
        server.gate.set()
        assert (await client.reply()).body == b"3"
        assert (await client.ask(message("/", b"ab"))).body == b"2"


async def test_chunks_whose_sizes_come_alone_are_no_trailers():
    async with serving(header_bytes=1024) as server, Connection(server.url) as client:
        await client.send(message("/", chunks=[])[: -len(b"0\r\n\r\n")])
        for _ in range(400):
            for part in (b"1\r\n", b"x\r\n"):
                await client.send(part)
                await asyncio.sleep(0)
        await client.send(b"0\r\n\r\n")
        assert (await client.reply()).body == b"400"


async def test_a_long_body_that_keeps_coming_is_taken():
    async with serving(body_timeout_s=SOON, body_bytes_per_s=1000) as server:
        async with Connection(server.url) as client:
            sent = message("/", bytes(40_000))
            head = sent.index(b"\r\n\r\n") + 4
            await client.send(sent[:head])
            for start in range(head, len(sent), 4000):
                await client.send(sent[start : start + 4000])
                await asyncio.sleep(SOON / 3)
            assert (await client.reply()).body == b"40000"
        assert server.closed() == {}


async def test_who_waits_for_an_answer_may_wait():
    async with (
        serving(header_timeout_s=SOON, body_timeout_s=SOON) as server,
        Connection(server.url) as client,
    ):
        await client.send(message("/slow", b"abc"), b"POST ")  # ... and has begun to ask again
        await server.entered.acquire()
        await asyncio.sleep(3 * SOON)
        server.gate.set()
        assert (await client.reply()).body == b"3"


async def test_an_idle_connection_is_closed_by_a_time_of_its_own():
    async with (
        serving(header_timeout_s=SOON, idle=2) as server,
        Connection(server.url) as client,
    ):
        assert (await client.ask(message("/", b"a"))).status == 200
        await asyncio.sleep(2 * SOON)
        assert (await client.ask(message("/", b"ab"))).body == b"2"
        assert await client.ended()
        assert server.closed() == {}


async def test_an_answer_that_nobody_reads_is_given_up():
    async with serving(body_timeout_s=SOON) as server:
        with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as deaf:
            deaf.sendall(message("/large"))
            while not server.closed():
                await asyncio.sleep(0.01)
            assert server.closed() == {"unread answer": 1}
        await answered(server)


async def test_an_answer_that_is_read_slowly_arrives_whole():
    async with serving(body_timeout_s=SOON) as server, Connection(server.url) as client:
        await client.send(message("/large"))
        await client.reader.readuntil(b"\r\n\r\n")
        left = LARGE
        while left:
            left -= len(await client.reader.readexactly(min(left, 500_000)))
            await asyncio.sleep(SOON / 3)
        assert server.closed() == {}
