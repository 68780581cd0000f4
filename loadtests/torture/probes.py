"""Health asked from outside while a scenario runs, on a new connection each time, as an orchestrator does."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence

from loadtests.torture.found import Probe, Probes
from loadtests.torture.load import Connection

EVERY_S = 0.1
WITHIN_S = 5.0
"""A probe without an answer by then has failed."""


class Prober:
    """Asks one service's routes."""

    def __init__(self, port: int, models: Sequence[str], begun: float) -> None:
        self.found = Probes(models={name: [] for name in models})
        self.excused = False
        """Set while nobody can answer: the process that does was killed on purpose, or told to end."""
        self._port = port
        self._begun = begun

    async def watch(self) -> None:
        """Probe, for as long as this is not cancelled."""
        while True:
            began = time.monotonic()
            await asyncio.gather(
                self._live(), self._service(), *(self._model(name) for name in self.found.models)
            )
            await asyncio.sleep(max(0.0, EVERY_S - (time.monotonic() - began)))

    async def _live(self) -> None:
        status = await self._status("/v2/health/live")
        if self.excused:
            return
        self.found.live += 1
        if status != 200:
            at = time.monotonic() - self._begun
            said = "nothing" if status is None else str(status)
            self.found.dead.append(f"{said} after {at:.1f} s")

    async def _service(self) -> None:
        self.found.service.append(await self._probe("/v2/health/ready"))

    async def _model(self, name: str) -> None:
        self.found.models[name].append(await self._probe(f"/v2/models/{name}/ready"))

    async def _probe(self, path: str) -> Probe:
        status = await self._status(path)
        ready = None if status is None else status == 200
        return Probe(round(time.monotonic() - self._begun, 3), ready)

    async def _status(self, path: str) -> int | None:
        connection = Connection(self._port)
        try:
            async with asyncio.timeout(WITHIN_S):
                await connection.opened()
                head = f"GET {path} HTTP/1.1\r\nHost: torture\r\nConnection: close\r\n\r\n"
                return (await connection.exchange(head.encode())).status
        except (OSError, EOFError, TimeoutError):
            return None
        finally:
            connection.close()


@contextlib.asynccontextmanager
async def probing(prober: Prober) -> AsyncIterator[None]:
    """Probes while the block runs."""
    task = asyncio.create_task(prober.watch())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
