"""Training as a process of this machine, in a session of its own: it goes on when the service ends. It must not know jobs beyond their directory.

    the job's directory -> a lock that the run inherits -> `python -m models.train --job`; held: it runs; free: it has ended, or never began

The lock is what says that a run is alive. The kernel frees it when its last process ends, however that comes about, and a process
number that another has meanwhile is never mistaken for it.
"""

import asyncio
import contextlib
import fcntl
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from models import job
from service.retraining.launchers import Status

LOCK = "lock"
GRACE_SECONDS = 10.0
"""How long a run that is cancelled may clean up before it is killed."""
LOOK_SECONDS = 0.05
NICE = 10
PRIVATE = ("EVERGREEN_TOKEN", "EVERGREEN_LEDGER_URL")
"""What a training run has no need to know."""


class Local:
    """Runs `program --job DIRECTORY`, as a rule this interpreter's models.train, with at most `memory` bytes of data."""

    def __init__(
        self,
        program: Sequence[str] = (sys.executable, "-m", "models.train"),
        memory: int | None = None,
    ) -> None:
        self._program = program
        self._memory = memory

    async def submit(self, directory: Path) -> str:
        """The reference is the directory."""
        return await asyncio.to_thread(self._submit, directory)

    async def status(self, reference: str) -> Status:
        """From the lock, and once that is free from the result."""
        return await asyncio.to_thread(status_of, Path(reference))

    async def logs(self, reference: str, offset: int) -> tuple[bytes, int]:
        """Both of its outputs."""
        data = await asyncio.to_thread(printed, Path(reference), offset)
        return data, offset + len(data)

    async def cancel(self, reference: str) -> None:
        """SIGTERM to all its processes, and SIGKILL to those that stay."""
        directory = Path(reference)
        for number in (signal.SIGTERM, signal.SIGKILL):
            told(directory, number)
            if await ended(directory, GRACE_SECONDS):
                return

    def _submit(self, directory: Path) -> str:
        with (directory / LOCK).open("a+") as lock:
            if not (directory / job.RESULT).exists() and taken(lock):
                self._start(directory, lock)
        return str(directory.resolve())

    def _start(self, directory: Path, lock: IO[str]) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in PRIVATE}
        with (directory / job.LOG).open("ab") as log:
            process = subprocess.Popen(
                [*self._program, "--job", str(directory)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                pass_fds=(lock.fileno(),),
            )
        # Whoever starts a process has to wait for it; this one may outlive the service.
        threading.Thread(target=process.wait, name="retraining", daemon=True).start()
        try:
            lock.seek(0)
            lock.truncate()
            lock.write(str(process.pid))
            lock.flush()
        except OSError:
            process.kill()  # nobody could end it later
            raise
        with contextlib.suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, process.pid, NICE)
            if self._memory is not None:
                resource.prlimit(process.pid, resource.RLIMIT_DATA, (self._memory, self._memory))


def taken(lock: IO[str]) -> bool:
    """Whether the lock could be had: then nobody runs, and it is held until the last process that has the file ends."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def running(directory: Path) -> bool:
    """Whether a run holds the lock."""
    try:
        with (directory / LOCK).open("r") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def status_of(directory: Path) -> Status:
    """How the run in `directory` is."""
    if running(directory):
        return Status("running")
    result = job.read_result(directory) if directory.is_dir() else None
    if result is None:
        return Status("lost", "the run ended without a result; its log says more")
    return Status("succeeded") if result.ok else Status("failed", result.error)


def printed(directory: Path, offset: int) -> bytes:
    """The log behind byte `offset`."""
    try:
        with (directory / job.LOG).open("rb") as file:
            file.seek(offset)
            return file.read()
    except FileNotFoundError:
        return b""


def told(directory: Path, number: signal.Signals) -> None:
    """Send a signal to the run's session. The lock is held while its process number stands in it, so it is the run's."""
    if running(directory) and (text := (directory / LOCK).read_text()):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(text), number)


async def ended(directory: Path, seconds: float) -> bool:
    """Whether the run ends within `seconds`. It may be no child of this process, so it is looked at, not waited for."""
    for _ in range(int(seconds / LOOK_SECONDS)):
        if not running(directory):
            return True
        await asyncio.sleep(LOOK_SECONDS)
    return not running(directory)
