"""Programs for tests: started, waited for by what they print, and ended by the process that started them."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

PATIENCE = 120.0
"""Seconds that anything may take on a busy machine before a test gives up on it."""


class Program(NamedTuple):
    """A running program: the first group of what it was to say, its process, and where its output goes."""

    said: str
    process: subprocess.Popen
    output: Path


def until(found: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """The first value of `found()` that is true; AssertionError names `what` did not come in time."""
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, f"{what} did not come within {seconds:g} s"
        time.sleep(0.02)
    return value


@contextmanager
def running(
    command: list[str], says: str, directory: Path, environ: Mapping[str, str] | None = None
) -> Iterator[Program]:
    """`command`, from when its output matches `says` until the block ends. It must end well on SIGTERM."""
    output = directory / f"{Path(command[0]).name}.log"
    with output.open("w") as file:
        process = subprocess.Popen(
            command, cwd=directory, stdout=file, stderr=subprocess.STDOUT, env=environ
        )

    def said() -> str | None:
        assert process.poll() is None, f"{command[0]} ended:\n{output.read_text()}"
        match = re.search(says, output.read_text())
        return match and match[1]

    try:
        yield Program(until(said, f"'{says}' from {command[0]}"), process, output)
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0, output.read_text()
    finally:
        process.kill()
        process.wait()


def evergreen(prefix: Path | None = None) -> str:
    """The command, installed beside this Python."""
    return str((prefix or Path(sys.executable).parent) / "evergreen")


def environment(directory: Path, **settings: str) -> dict[str, str]:
    """This environment without settings of the person who runs the tests, and with `settings` (EVERGREEN_...)."""
    environ = {k: v for k, v in os.environ.items() if not k.startswith("EVERGREEN_")}
    given = {f"EVERGREEN_{key.upper()}": value for key, value in settings.items()}
    return environ | {"EVERGREEN_STATE": str(directory / "state")} | given


@contextmanager
def serving(
    repository: Path, directory: Path, *, prefix: Path | None = None, **settings: str
) -> Iterator[Program]:
    """`evergreen serve` on the models in `repository`, on a port that was free; `said` is its URL."""
    command = [evergreen(prefix), "serve", "--repository", str(repository), "--port", "0"]
    with running(
        command, r"answers on (https?://\S+),", directory, environment(directory, **settings)
    ) as program:
        yield program


def grpc_address(program: Program) -> str:
    """Where a service speaks gRPC: it says so behind where it answers."""

    def said() -> str | None:
        found = re.search(r"over gRPC is on (\S+)\n", program.output.read_text())
        return found and found[1]

    return str(until(said, "the address of gRPC"))


def children(pid: int, module: str) -> list[int]:
    """Processes below `pid` that run `module`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            command = (path.parent / "cmdline").read_bytes().split(b"\0")
        except (OSError, IndexError):
            continue
        if parent == pid and module.encode() in command:
            found.append(int(path.parent.name))
    return found


def engine_of(pid: int, model: str) -> int:
    """The engine process that runs `model`."""
    return next(
        e
        for e in children(pid, "service.engine.worker")
        if f'"model":"{model}"'.encode() in Path(f"/proc/{e}/cmdline").read_bytes()
    )


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """`pid` does nothing inside the block; it goes on afterwards, whatever happened, unless it was killed."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def rows(port: int, state: str) -> list[list[str]]:
    """The kernel's TCP sockets on `port` of 127.0.0.1 that are in `state`: the columns of /proc/net/tcp."""
    local = f"0100007F:{port:04X}"
    found = map(str.split, Path("/proc/net/tcp").read_text().splitlines())
    return [row for row in found if row[1] == local and row[3] == state]


def connections(port: int) -> list[list[str]]:
    """The serving ends of the connections to `port`: column 2 names the other end, 9 the socket."""
    return rows(port, "01")


def waiting(port: int) -> int:
    """Connections to `port` that nobody has accepted yet."""
    return sum(int(row[4].split(":")[1], 16) for row in rows(port, "0A"))


def sockets(pid: int) -> set[str]:
    """The numbers of the sockets that a process holds."""
    numbers = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # it was closed meanwhile
            if found := re.match(r"socket:\[(\d+)\]", str(link.readlink())):
                numbers.add(found[1])
    return numbers


def command_lines() -> list[bytes]:
    """Of all processes on this machine."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended meanwhile
            lines.append(path.read_bytes())
    return lines
