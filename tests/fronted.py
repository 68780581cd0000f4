"""A real front end over a stand-in for control: the questions it asks are kept, the answers are the test's."""

import asyncio
import functools
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from service.api.hot import HotProtocol
from service.api.telemetry import Accompanied
from service.app import create_app
from service.link import Link
from service.settings import Settings

EVIDENCE = ("feedback", "wanted", "erase", "drift", "brief", "observed")
RETRAINING = (
    "retrain",
    "retrainings",
    "retraining",
    "retraining cancel",
    "retraining approve",
    "retraining reject",
    "retraining events",
    "retraining logs",
    "retrainable",
)
TABLE = {
    "number": 1,
    "ready": True,
    "champions": {"m": 1, "stats": 1},
    "targets": [
        {"model": name, "version": 1, "directory": "/nowhere", "state": "starting"}
        for name in ("m", "stats")
    ],
}


class FrontEnd:
    """`asked` holds (what, body) of every question; `answers` what is answered: a value, an error to raise, or a function of the body."""

    def __init__(self, **answers: Any) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.answers = answers
        self.client: httpx.AsyncClient

    async def _answer(self, what: str, body: Any) -> Any:
        self.asked.append((what, body))
        answer = self.answers.get(what)
        if isinstance(answer, Exception):
            raise answer
        return answer(body) if isinstance(answer, Callable) else answer  # type: ignore[arg-type]

    def _link(self, tasks: set[asyncio.Task[Any]]) -> Any:
        questions = ("metrics", "statistics", "load", "unload", "promote", "rollback", "traffic")
        handlers = {
            name: functools.partial(self._answer, name)
            for name in (*questions, *EVIDENCE, *RETRAINING, "lifecycle", "index")
        }
        link = Link(handlers, "front end")

        async def hold() -> None:
            await link.opened.wait()
            await link.ask("route", TABLE)

        tasks.add(asyncio.get_running_loop().create_task(hold()))
        return link.channel


@asynccontextmanager
async def front_end(directory: Path, settings: Settings, **answers: Any) -> AsyncIterator[FrontEnd]:
    """The front end, answering on a port of its own while the block runs. Its tokens are those of the environment."""
    one, tasks = FrontEnd(**answers), set[asyncio.Task[Any]]()
    path = str(directory / "control.sock")
    control = await asyncio.get_running_loop().create_unix_server(lambda: one._link(tasks), path)
    listener = socket.create_server(("127.0.0.1", 0))
    app, route, entrance = create_app(settings, path)
    protocol: Any = functools.partial(HotProtocol, route, entrance.connections)
    told = Accompanied(app, route.telemetry)
    server = uvicorn.Server(uvicorn.Config(told, http=protocol, lifespan="on", log_config=None))
    running = asyncio.create_task(server.serve([listener]))
    try:
        async with asyncio.timeout(30):
            while not server.started:
                assert not running.done(), running
                await asyncio.sleep(0.01)
        url = "http://{}:{}".format(*listener.getsockname())
        async with httpx.AsyncClient(base_url=url, timeout=30) as one.client:
            yield one
    finally:
        server.should_exit = True
        await running
        control.close()
