"""Control in the test's own process, with what it says over HTTP, and a load on it. A toy model comes in three versions."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import live
import pytest
from live import children

from service import steering, swaps
from service.control import Control
from service.settings import Settings

MODEL = "toy-text"
PREDICT = f"/v1/models/{MODEL}/predict"
GOOD = {"text": "good good"}
TENSORS = {
    "inputs": [
        {"name": "input_ids", "shape": [1, 2], "datatype": "INT64", "data": [1, 1]},
        {"name": "attention_mask", "shape": [1, 2], "datatype": "INT64", "data": [1, 1]},
    ]
}


class Service:
    """Control in this process, with what it says over HTTP."""

    def __init__(self, control: Control) -> None:
        self.control = control
        self.lifecycle = control.lifecycle
        self.http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{control.port}", timeout=live.PATIENCE
        )

    async def ask(self, **headers: str) -> httpx.Response:
        return await self.http.post(PREDICT, json=GOOD, headers=headers)

    async def answers(self) -> int:
        """The version that answers by default."""
        answer = await self.ask()
        assert answer.status_code == 200, answer.text
        return int(answer.json()["version"])

    async def view(self) -> dict[str, Any]:
        answer = await self.http.get(f"/v1/models/{MODEL}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def states(self) -> dict[int, str]:
        return {one["version"]: one["state"] for one in (await self.view())["versions"]}

    def engines(self, version: int) -> list[int]:
        """The processes that run a version."""
        told = f'"model":"{MODEL}","version":{version},'.encode()
        found = []
        for pid in children(os.getpid(), "service.engine.worker"):
            try:
                command = Path(f"/proc/{pid}/cmdline").read_bytes()
            except OSError:
                continue
            if told in command:
                found.append(pid)
        return found

    async def promote(self, version: int, **more: Any) -> None:
        await self.lifecycle.promote(MODEL, version, who="a test", **more)


async def until(found: Callable[[], Any], what: str) -> Any:
    return await asyncio.to_thread(live.until, found, what)


async def soon(found: Callable[[], Awaitable[Any]], what: str) -> Any:
    """The first value of `found()` that is true."""
    async with asyncio.timeout(live.PATIENCE):
        while not (value := await found()):
            await asyncio.sleep(0.05)
    assert value, what
    return value


@asynccontextmanager
async def serving(repository: Path, state: Path, **more: Any) -> AsyncIterator[Service]:
    told = {"serve": (MODEL,), "registry_poll_s": 0.1, "keep_previous_s": 600.0} | more
    with pytest.MonkeyPatch.context() as hasty:
        hasty.setattr(
            swaps, "LINGER_SECONDS", 0.2
        )  # nobody waits long for what is only kept for a while
        hasty.setattr(steering, "QUIET_SECONDS", 0.1)
        control = Control(Settings(port=0, repository=repository, state=state, **told))
        service: Service | None = None
        try:
            await control.start()
            service = Service(control)
            yield service
        finally:
            if service is not None:
                await service.http.aclose()
            await control.close()


class Load:
    """Requests without a break; every outcome counts."""

    def __init__(self, service: Service, callers: int = 4) -> None:
        self.seen: dict[Any, int] = {}
        self._service = service
        self._callers = callers

    async def __aenter__(self) -> "Load":
        self._tasks = [asyncio.create_task(self._call()) for _ in range(self._callers)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _call(self) -> None:
        while True:
            answer = await self._service.ask()
            good = answer.status_code == 200
            key = answer.json()["version"] if good else answer.text
            self.seen[key] = self.seen.get(key, 0) + 1
