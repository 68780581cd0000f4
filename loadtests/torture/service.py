"""A service of the program's own: a folder, its settings, its processes, its end. It must not know what is done to it."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from loadtests.compare import processes
from loadtests.compare.serving import free_port
from loadtests.torture.errors import Missed

START_S, END_S, LOOK_S = 90.0, 60.0, 0.05
LOG = "evergreen.log"
PAGE = os.sysconf("SC_PAGE_SIZE")


class Service:
    """`evergreen serve` with `settings` (EVERGREEN_...) and `environ` beside them. It can be started again on the same port."""

    def __init__(
        self,
        folder: Path,
        repository: Path,
        settings: Mapping[str, object],
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.state = Path(str(settings.get("state", folder / "state")))
        self.port = free_port()
        self.client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=60)
        self.process: Process
        named = {f"EVERGREEN_{key.upper()}": str(value) for key, value in settings.items()}
        kept = {k: v for k, v in os.environ.items() if not k.startswith("EVERGREEN_")}
        self._environ = kept | {"EVERGREEN_STATE": str(self.state)} | named | dict(environ or {})
        program = str(Path(sys.executable).parent / "evergreen")
        self._command = [program, "serve", "--repository", str(repository)]
        self._command += ["--port", str(self.port)]

    async def start(self) -> None:
        """Returns once it is ready. Missed says what it said instead."""
        with (self.folder / LOG).open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self._command,
                cwd=self.folder,
                env=self._environ,
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches this program alone, which ends it
            )
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                while self.process.returncode is None:
                    if await self.status("/v2/health/ready") == 200:
                        return
                    await asyncio.sleep(LOOK_S)
        raise Missed(f"the service did not start: {self.log()[-500:].strip()}")

    async def end(self) -> int:
        """SIGTERM, and SIGKILL for who does not listen; the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.process.wait(), END_S)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
            raise Missed(f"the service had not ended {END_S:g} s after SIGTERM") from None

    def log(self) -> str:
        """What it has written."""
        return (self.folder / LOG).read_text(errors="replace")

    async def status(self, path: str) -> int | None:
        """What a route answers; None without an answer."""
        try:
            return (await self.client.get(path)).status_code
        except httpx.TransportError:
            return None

    async def page(self, model: str) -> Any:
        """The model's page."""
        return (await self.client.get(f"/v1/models/{model}")).json()

    def family(self) -> list[int]:
        """Its living processes."""
        parents = {pid: stat.parent for pid, stat in processes.stats().items() if not stat.zombie}
        return sorted(processes.family([self.process.pid], parents) & parents.keys())

    def engines(self, model: str = "") -> list[int]:
        """The processes that run `model`, or any."""
        wanted = f'"model":"{model}' if model else ""
        return [pid for pid, said in self._running("service.engine.worker") if wanted in said]

    def front_ends(self) -> list[int]:
        """The processes that speak HTTP."""
        return [pid for pid, _ in self._running("service.frontend")]

    def resident(self) -> float:
        """MiB of all its processes."""
        pages = 0
        for pid in self.family():
            with contextlib.suppress(OSError):
                pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        return pages * PAGE / 2**20

    def _running(self, module: str) -> Iterator[tuple[int, str]]:
        for pid in self.family():
            with contextlib.suppress(OSError):
                said = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
                if module in said.split("\0"):
                    yield pid, said


@contextlib.asynccontextmanager
async def running(service: Service) -> AsyncIterator[Service]:
    """The service from when it is ready; it is ended with the block, whatever happened in it."""
    try:
        await service.start()
        yield service
    finally:
        with contextlib.suppress(Missed):
            await service.end()
        await service.client.aclose()


async def until(found: Callable[[], Any], what: str, seconds: float) -> Any:
    """The first true value of `found()`; Missed when none comes in time."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not (value := found()):
        if asyncio.get_running_loop().time() > deadline:
            raise Missed(f"{what} did not come within {seconds:g} s")
        await asyncio.sleep(LOOK_S)
    return value
