"""Room for bodies and connections, and quotas: bounded, and taken first from who needs it least."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httptools
import msgspec
import pytest
from bounding import answered, serving
from raw import Connection, message

from service.api import bounded
from service.api.callers import Callers
from service.api.quotas import Quotas
from service.api.tokens import Tokens
from service.edge import Limits, Quota


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
