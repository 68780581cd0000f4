"""A service of the demonstration's own: a folder with its settings, started, asked, ended. It must not know what is shown with it."""

import asyncio
import contextlib
import os
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from models.errors import EvergreenError

SETTINGS, LOG = "evergreen.toml", "evergreen.log"
READY_S, END_S, LOOK_S = 60.0, 40.0, 0.1


class Failed(EvergreenError):
    """What was to be shown did not come about."""


class Service:
    """One that answers; it serves `model`."""

    def __init__(self, client: httpx.AsyncClient, model: str, folder: Path) -> None:
        self.client = client
        self.model = model
        self.folder = folder

    @property
    def registry(self) -> Path:
        """Where its versions are published."""
        return self.folder / ".evergreen" / "registry"

    async def get(self, path: str, **query: Any) -> Any:
        """What is answered as JSON. Failed with what was answered instead of 2xx."""
        return told(await self.client.get(path, params=query))

    async def post(self, path: str, body: Any) -> Any:
        """The same for a question with a body."""
        return told(await self.client.post(path, json=body))

    async def page(self) -> Any:
        """The model's page: versions, aliases, history."""
        return await self.get(f"/v1/models/{self.model}")

    async def champion(self) -> int:
        """Who answers."""
        return int((await self.page())["aliases"]["champion"])


def told(answer: httpx.Response) -> Any:
    """The answer's JSON."""
    if not answer.is_success:
        raise Failed(
            f"{answer.request.method} {answer.request.url.path} was answered with {answer.status_code}: {answer.text[:300]}"
        )
    return answer.json()


@asynccontextmanager
async def running(
    model: str, repository: Path, folder: Path, settings: str
) -> AsyncIterator[Service]:
    """`evergreen serve` in `folder` with `settings` as its evergreen.toml. Its output is in LOG there."""
    (folder / SETTINGS).write_text(settings)
    port = free_port()
    command = [str(Path(sys.executable).parent / "evergreen"), "serve", "--port", str(port)]
    command += ["--repository", str(repository), "--models", model]
    environ = {name: value for name, value in os.environ.items() if "EVERGREEN_" not in name}
    with (folder / LOG).open("w") as log:
        process = await asyncio.create_subprocess_exec(
            *command, cwd=folder, env=environ, stdin=DEVNULL, stdout=log, stderr=log
        )
    url = f"http://127.0.0.1:{port}"
    try:
        async with httpx.AsyncClient(base_url=url, timeout=60) as client:
            await ready(client, process, folder)
            yield Service(client, model, folder)
    finally:
        await end(process)


async def ready(client: httpx.AsyncClient, process: Process, folder: Path) -> None:
    """Returns once it answers."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(READY_S):
            while process.returncode is None:
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get("/v2/health/ready")).status_code == 200:
                        return
                await asyncio.sleep(LOOK_S)
    last = (folder / LOG).read_text().strip()[-500:]
    raise Failed(f"the service did not start: {last}")


async def end(process: Process) -> None:
    """SIGTERM, and SIGKILL for who does not listen."""
    if process.returncode is None:
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), END_S)
    except TimeoutError:
        process.kill()
        await process.wait()


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port
