"""Connections within limits, over real sockets: slow, long, silent, greedy and too many clients, and that nobody else notices them."""

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httptools
import msgspec
import pytest
from raw import Connection, Reply, message
from uvicorn import Config
from uvicorn.server import ServerState

from service.api import bounded
from service.api.bounded import BoundedProtocol, Connections
from service.api.callers import Callers
from service.api.quotas import Quotas
from service.api.tokens import Tokens
from service.edge import Limits, Quota
from service.refusals import Refusals

SOON = 0.3
"""Seconds after which a client is slow here."""
LARGE = 4_000_000


class Server:
    """A server within limits, whose application answers with how much it was sent: at /slow once `gate` is open, at /large with a lot."""

    def __init__(self, limits: Limits, quotas: Quotas | None, most: int | None) -> None:
        self.counts = Refusals()
        self.connections = Connections(limits, self.counts, quotas, most)
        self.gate = asyncio.Event()
        self.entered = asyncio.Semaphore(0)
        self.url = ""
        self.headers: list[tuple[bytes, bytes]] | None = None

    async def application(self, scope: Any, receive: Any, send: Any) -> None:
        self.headers = scope["headers"]
        size, more = 0, True
        while more:
            event = await receive()
            if event["type"] == "http.disconnect":
                return
            size, more = size + len(event["body"]), event["more_body"]
        self.entered.release()
        if scope["path"] == "/slow":
            await self.gate.wait()
        body = bytes(LARGE) if scope["path"] == "/large" else str(size).encode()
        headers = [(b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def closed(self) -> dict[str, float]:
        """How many connections were ended here, by the reason."""
        return {
            sample.labels["reason"]: sample.value
            for family in self.counts.collect()
            for sample in family.samples
            if sample.name == "inference_closed_connections_total"
        }


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "LOOK_SECONDS", 0.02)


@asynccontextmanager
async def serving(
    quotas: Quotas | None = None, most: int | None = None, idle: int = 60, **limits: Any
) -> AsyncIterator[Server]:
    """Nothing may go wrong in it unseen, and at the end no body takes memory."""
    loop, defects = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: defects.append(context))
    server = Server(Limits(**limits), quotas, most)
    config = Config(
        server.application,
        interface="asgi3",
        proxy_headers=False,
        log_config=None,
        access_log=False,
        timeout_keep_alive=idle,
    )
    state = ServerState()

    def protocol() -> BoundedProtocol:
        return BoundedProtocol(server.connections, config=config, server_state=state, app_state={})

    listening = await loop.create_server(protocol, "127.0.0.1", 0)
    watching = asyncio.create_task(server.connections.watch())
    server.url = "http://{}:{}".format(*listening.sockets[0].getsockname())
    try:
        async with asyncio.timeout(20):
            yield server
    finally:
        server.gate.set()
        watching.cancel()
        listening.close()
        for connection in list(state.connections):
            connection.transport.abort()  # type: ignore[union-attr]
    async with asyncio.timeout(10):
        while state.tasks or server.connections.open:
            await asyncio.sleep(0)
    assert server.connections.pending == 0
    assert defects == []


async def answered(server: Server) -> None:
    """Somebody else is."""
    async with Connection(server.url) as other:
        assert (await other.ask(message("/", b"abc"))).body == b"3"


async def last(connection: Connection) -> Reply:
    """The last thing that a connection says."""
    reply = await connection.reply()
    assert reply.headers["connection"] == "close"
    assert await connection.ended()
    return reply


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


def lines(count: int, length: int) -> dict[str, str]:
    return {f"X-{n}": "y" * length for n in range(count)}


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


async def test_bodies_share_a_bounded_memory():
    async with serving(pending_mb=1) as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Connection(server.url)) for _ in range(3)]
        for client in clients[:2]:
            await client.send(message("/", bytes(400_000))[:-100_000])
        while server.connections.pending < 600_000:
            await asyncio.sleep(0)
        with contextlib.suppress(ConnectionError):
            await clients[2].send(message("/", bytes(600_000))[:-1])
        reply = await clients[2].reply()
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert server.closed() == {"memory": 1}
        for client in clients[:2]:
            await client.send(bytes(100_000))
            assert (await client.reply()).body == b"400000"
        assert server.connections.pending == 0


async def test_what_is_sent_after_an_answer_takes_no_memory():
    """A refusal comes before the body has: what follows is thrown away."""
    async with serving(pending_mb=1) as server, Connection(server.url) as client:
        server.connections.quotas = Refusing()  # type: ignore[assignment]
        head, piece = message("/", chunks=[]), b"%x\r\n%b\r\n" % (10_000, bytes(10_000))
        await client.send(head[: -len(b"0\r\n\r\n")], piece)
        assert (await client.reply()).status == 429
        for _ in range(300):
            await client.send(piece)
        server.connections.quotas = None
        await client.send(b"0\r\n\r\n")
        assert (await client.ask(message("/", b"abc"))).body == b"3"
        assert server.closed() == {}


class Refusing:
    """Nobody has a quota."""

    def ask_of(self, headers: Any, peer: str) -> Any:
        return bounded.Standing(False, 1, 0, 2.5, 2.5, 1.0)


async def test_where_there_is_no_room_the_longest_idle_go_and_nobody_who_waits():
    async with serving(most=10) as server, AsyncExitStack() as stack:

        async def connected() -> Connection:
            return await stack.enter_async_context(Connection(server.url))

        waiting = await connected()
        await waiting.send(message("/slow", b"abc"))
        await server.entered.acquire()
        idle = [await connected() for _ in range(9)]
        for one in idle:
            assert (await one.ask(message("/", b"a"))).status == 200
        newest = await connected()
        assert (await newest.ask(message("/", b"ab"))).body == b"2"
        assert await idle[0].ended()
        assert (await idle[8].ask(message("/", b"abc"))).body == b"3"
        server.gate.set()
        assert (await waiting.reply()).body == b"3"
        assert server.closed() == {"limit": 1}


async def test_connections_that_never_ask_cannot_keep_others_out():
    async with serving(most=10) as server, AsyncExitStack() as stack:
        for number in range(40):
            silent = await stack.enter_async_context(Connection(server.url))
            await silent.send(b"POST / HTT" if number % 2 else b"")
            await answered(server)
        assert len(server.connections.open) <= 10


async def test_where_everybody_waits_for_an_answer_there_is_no_room_and_that_is_said():
    async with serving(most=3) as server, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Connection(server.url)) for _ in range(3)]
        for client in clients:
            await client.send(message("/slow", b"abc"))
            await server.entered.acquire()
        async with Connection(server.url) as another:
            reply = await another.reply()
            assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        server.gate.set()
        for client in clients:
            assert (await client.reply()).body == b"3"


@pytest.fixture
def quotas(tmp_path: Path) -> Iterator[Callable[..., Quotas]]:
    made: list[Quotas] = []

    def make(**quota: Any) -> Quotas:
        made.append(Quotas(Quota(**quota), tmp_path / "quotas", Tokens(None, {}), Callers()))
        return made[-1]

    yield make
    for one in made:
        one.buckets.close()


async def test_a_quota_is_told_in_every_answer_and_refuses_on_a_connection_that_stays(
    quotas: Callable[..., Quotas],
):
    async with (
        serving(quotas(per_s=0.001, burst=2)) as server,
        Connection(server.url) as client,
    ):
        replies = [await client.ask(message("/v2/x", bytes(100_000))) for _ in range(4)]
        assert [reply.status for reply in replies] == [200, 200, 429, 429]
        assert [reply.headers["ratelimit"][:12] for reply in replies] == [
            '"client";r=1',
            '"client";r=0',
            '"client";r=0',
            '"client";r=0',
        ]
        assert int(replies[2].headers["retry-after"]) > 900
        assert "retry-after" not in replies[0].headers
        assert json.loads(replies[2].body)["error"].startswith("the client's quota of 2 requests")
        for _ in range(3):
            probe = await client.ask(message("/v2/health/live", method="GET"))
            assert probe.status == 200
        assert server.closed() == {}


async def test_a_line_of_the_clients_own_does_not_change_whom_a_trusted_proxy_names(
    quotas: Callable[..., Quotas],
):
    behind = quotas(per_s=0.001, burst=2)
    behind._callers = Callers(["127.0.0.1"])
    async with serving(behind) as server, Connection(server.url) as proxy:
        server.connections.proxied = True
        found = []
        for number in range(4):
            lines = b"X-Forwarded-For: 1.1.1.%d\r\nX-Forwarded-For: 9.9.9.9\r\n" % number
            found.append(await proxy.ask(b"GET / HTTP/1.1\r\nHost: t\r\n" + lines + b"\r\n"))
        assert [reply.status for reply in found] == [200, 200, 429, 429]


async def test_what_is_no_http_is_counted_and_not_logged_by_its_content():
    async with serving() as server, Connection(server.url) as client:
        await client.send(b"\x16\x03\x01 this is TLS\r\n\r\n")
        assert (await client.reply()).status == 400
        assert server.closed() == {"malformed": 1}


def test_the_parser_ends_where_a_callback_raises():
    """What the refusals rest on: nothing else of the buffer is parsed."""
    seen: list[str] = []

    class Callbacks:
        def on_headers_complete(self) -> None:
            seen.append("headers")
            raise bounded.Refused

        def on_body(self, body: bytes) -> None:
            seen.append("body")

    parser = httptools.HttpRequestParser(Callbacks())
    with pytest.raises(httptools.HttpParserCallbackError):
        parser.feed_data(message("/", b"abc") * 2)
    assert seen == ["headers"]


def test_the_limits_have_defaults_that_a_proxy_can_live_with():
    limits = msgspec.convert({}, Limits)
    assert limits.idle_timeout_s > 60
