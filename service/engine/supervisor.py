"""Keeps one process running: starts it, hears its reports, starts it again when it ends. It must not know what the process does.

    starting -> ready -> (ended, or silent: killed) -> starting ...      failed: it said itself that it cannot, or ended EARLY_ENDS times
                                                                         and never was ready; nothing is started again
                      -> stopped                                         on request: SIGTERM, then SIGKILL after a grace

The lifeline is a socket pair. The process reports on it as JSON lines and ends when it closes, so nothing outlives control,
not even when control is killed. A process that was ready and no longer says that its event loop turns is as good as dead.
"""

import asyncio
import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, Literal

import msgspec

from service.engine.lifeline import BEAT_SECONDS, Said

State = Literal["starting", "ready", "failed", "stopped"]

BACKOFF_FIRST, BACKOFF_MOST = 0.2, 30.0
STEADY_SECONDS = 60.0
"""A process that stayed this long starts over with the shortest back-off."""
EARLY_ENDS = 3
"""Starts that a process gets to become ready for the first time. One that was ready is started again for as long as it takes."""
SILENCE_SECONDS = 10 * BEAT_SECONDS
"""A process whose event loop has not turned for so long is replaced."""
LONGEST_LINE = 1 << 24
"""Bytes of a report: with a curve for each bucket it can be long."""

ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "ORT_DISABLE_TELEMETRY": "1"}
"""numpy's threads would only get in the way of the run threads, which are counted. ONNX Runtime's wheels tell Microsoft what they run otherwise."""

TRACE_SECRETS = ("OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS")
"""What a collector of traces wants to hear: a key, often. Only front ends export."""
SECRETS = (
    "EVERGREEN_TOKEN",
    "EVERGREEN_LEDGER_URL",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    *TRACE_SECRETS,
)
"""What control knows and a process does not inherit, unless it needs to know: files of other people are opened there."""

Command = Callable[[int], Sequence[str]]
"""Given the lifeline's number, the arguments after `python -m`."""


class Supervisor:
    """Runs `command` until `stop`. `on_change` is called, in the event loop, whenever `state` or `report` changes.

    `confided`: those of SECRETS that the process is told.
    """

    def __init__(
        self,
        name: str,
        command: Command,
        on_change: "Callable[[Supervisor], None]",
        pass_fds: Sequence[int] = (),
        confided: Collection[str] = (),
    ) -> None:
        self.name = name
        self.state: State = "starting"
        self.report: dict[str, Any] = {}
        self.reason: str | None = None
        self.restarts = 0
        self.settled = asyncio.Event()
        self._command = command
        self._on_change = on_change
        self._pass_fds = tuple(pass_fds)
        self._withheld = frozenset(SECRETS) - frozenset(confided)
        self._process: asyncio.subprocess.Process | None = None
        self._lifeline: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._was_ready = False
        self._last_words: str | None = None

    @property
    def pid(self) -> int | None:
        """The process that runs now."""
        return self._process.pid if self._process and self._process.returncode is None else None

    def start(self) -> None:
        """Begin; the first outcome (ready, failed, stopped) sets `settled`."""
        self._task = asyncio.create_task(self._run(), name=f"supervise {self.name}")
        self._on_change(self)

    async def replace(self, reason: str, grace: float = 0.0) -> None:
        """End the process for `reason`, unless it ends by itself within `grace` seconds; another is started.

        Returns when it has gone: what it might have done wrong, it no longer does.
        """
        process = self._process
        if process is None or process.returncode is not None:
            return
        try:
            await asyncio.wait_for(process.wait(), grace)
        except TimeoutError:
            if self._stopping:  # it is ending in good order
                return
            self._last_words = reason
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def stop(self, grace: float) -> None:
        """SIGTERM; after `grace` seconds SIGKILL. Returns when the process has gone."""
        self._stopping = True
        process, task = self._process, self._task
        if process is not None and process.returncode is None:
            process.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), grace)
            except TimeoutError:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
        if task is not None:
            # Between two starts the task sleeps; otherwise it ends as soon as the process does.
            if process is None or process.returncode is not None:
                task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        self._become("stopped")

    async def _run(self) -> None:
        backoff = BACKOFF_FIRST
        while not self._stopping:
            started = time.monotonic()
            try:
                await self._run_once()
            except OSError as error:  # no process could be started at all
                self.reason = f"cannot start a process: {error}"
                self._become("failed")
            if self._stopping or self.state == "failed":
                return
            self.settled.set()  # it ended before its first word: nobody should wait for that any longer
            if not self._was_ready and self.restarts + 1 >= EARLY_ENDS:
                self.reason = f"{self.reason}; it ended {EARLY_ENDS} times before it was ready"
                self._become("failed")
                return
            self.restarts += 1
            self._become("starting")
            if time.monotonic() - started > STEADY_SECONDS:
                backoff = BACKOFF_FIRST
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, BACKOFF_MOST)

    async def _run_once(self) -> None:
        self._last_words = None
        ours, theirs = socket.socketpair()
        try:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                *self._command(theirs.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), *self._pass_fds),
                env=self._environment(),
                start_new_session=True,  # Ctrl-C is for control alone: it ends the others in order
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        reader, writer = await asyncio.open_unix_connection(sock=ours, limit=LONGEST_LINE)
        try:
            try:
                while line := await self._hear(reader):
                    said = msgspec.json.decode(line, type=Said)
                    if said.state is not None:
                        self.reason, self.report = said.reason, said.report
                        self._become(said.state)
                    elif said.reason is not None:
                        self._last_words = said.reason
            except ValueError as error:  # no JSON, or no end of a line
                self._last_words = f"it said what cannot be understood: {error}"
                self._kill()
            code = await self._process.wait()
            if self.state != "failed":
                words = f": {self._last_words}" if self._last_words else ""
                self.reason = f"process {self._process.pid} ended with {describe(code)}{words}"
        finally:
            writer.close()
            self._kill()

    def _environment(self) -> dict[str, str]:
        inherited = {name: said for name, said in os.environ.items() if name not in self._withheld}
        return inherited | ENVIRONMENT

    async def _hear(self, reader: asyncio.StreamReader) -> bytes:
        """The next line; b"" when the process has ended, or has been silent for too long although it was ready."""
        if self.state != "ready":
            return await reader.readline()
        # Twice: where this process itself was stopped for a while, the lines are there, only not read yet.
        for patience in (SILENCE_SECONDS, BEAT_SECONDS):
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(reader.readline(), patience)
        self._last_words = f"it said nothing for {SILENCE_SECONDS:g} s"
        self._kill()
        return b""

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    def _become(self, state: State) -> None:
        self.state = state
        self._was_ready |= state == "ready"
        if state != "starting":
            self.settled.set()
        self._on_change(self)


def describe(code: int) -> str:
    """An exit code in words."""
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
