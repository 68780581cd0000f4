"""Connections that end: with the service, and under a client's hands while several requests wait on them."""

import asyncio
import functools
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from raw import Connection, message

from service.api import bounded
from service.api.bounded import Connections
from service.api.hot import HotProtocol
from service.edge import Limits
from service.refusals import Refusals

ASKED = message("/asked", method="GET")


class Application:
    """Answers once `go` is set; `asked` counts requests, `gone` those that heard that their client had gone."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.asked = 0
        self.gone = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        await receive()
        await self.go.wait()
        headers = [(b"content-length", b"2")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"ok"})
        self.gone += (await receive())["type"] == "http.disconnect"


@asynccontextmanager
async def answering(application: Application) -> AsyncIterator[tuple[str, Connections]]:
    """A server of this application, and its connections."""
    connections = Connections(Limits(), Refusals())
    protocol: Any = functools.partial(HotProtocol, None, connections)  # no request is a hot one
    config = uvicorn.Config(application, http=protocol, lifespan="off", log_config=None)
    config.load()
    state = uvicorn.server.ServerState()

    def connected() -> Any:
        return config.http_protocol_class(config=config, server_state=state, app_state={})

    server = await asyncio.get_running_loop().create_server(connected, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"http://{host}:{port}", connections
    finally:
        server.close()


async def until(found: Any) -> None:
    async with asyncio.timeout(30):
        while not found():
            await asyncio.sleep(0.01)


async def test_what_an_idle_client_sends_while_the_service_ends_is_answered_as_the_last(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(bounded, "LAST_SECONDS", 60.0)
    application = Application()
    application.go.set()
    async with answering(application) as (url, connections), Connection(url) as connection:
        assert "connection" not in (await connection.ask(ASKED)).headers
        (held,) = connections.open
        held.shutdown()
        last = await connection.ask(ASKED)
        assert (last.status, last.headers["connection"]) == (200, "close")
        assert await connection.ended()


async def test_an_idle_connection_ends_with_the_service(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bounded, "LAST_SECONDS", 0.01)
    application = Application()
    application.go.set()
    async with answering(application) as (url, connections), Connection(url) as connection:
        await connection.ask(ASKED)
        (held,) = connections.open
        held.shutdown()
        assert await connection.ended()


async def test_a_request_under_way_is_answered_while_the_service_ends():
    application = Application()
    async with answering(application) as (url, connections), Connection(url) as connection:
        await connection.send(ASKED)
        await until(lambda: application.asked)
        (held,) = connections.open
        held.shutdown()
        application.go.set()
        reply = await connection.reply()
        assert (reply.status, reply.headers["connection"]) == (200, "close")


async def test_who_goes_with_requests_behind_one_another_leaves_no_traceback(
    caplog: pytest.LogCaptureFixture,
):
    application = Application()
    async with answering(application) as (url, connections):
        async with Connection(url) as connection:
            await connection.send(ASKED * 3)
            await until(lambda: application.asked and next(iter(connections.open)).pipeline)
        await until(lambda: not connections.open)
        with caplog.at_level(logging.ERROR):
            application.go.set()
            await until(lambda: application.gone)
    assert not caplog.records
