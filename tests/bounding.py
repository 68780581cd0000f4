"""A server within limits, over real sockets, and nobody who notices how others are treated."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from raw import Connection, Reply, message
from uvicorn import Config
from uvicorn.server import ServerState

from service.api import bounded
from service.api.bounded import BoundedProtocol, Connections
from service.api.quotas import Quotas
from service.edge import Limits
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
    often = pytest.MonkeyPatch()
    often.setattr(bounded, "LOOK_SECONDS", 0.02)
    watching = asyncio.create_task(server.connections.watch())
    server.url = "http://{}:{}".format(*listening.sockets[0].getsockname())
    try:
        async with asyncio.timeout(20):
            yield server
    finally:
        often.undo()
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


def lines(count: int, length: int) -> dict[str, str]:
    return {f"X-{n}": "y" * length for n in range(count)}
