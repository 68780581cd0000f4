"""Starting one server, waiting until it answers, ending every process of it. It must not know what is measured.

start (own session, own scratch folder) -> the first right answer -> measured -> SIGTERM -> SIGKILL for what is left
"""

import json
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from loadtests.compare.contenders import Contender, Job
from loadtests.compare.errors import NotMeasured
from loadtests.compare.processes import Tree

START_S = 90.0
KILLED_S = 4.0
POLL_S = 0.05


class Server(NamedTuple):
    """One that answers."""

    url: str
    tree: Tree


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder with a short path (unix sockets allow 107 characters), gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="cmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def new_token() -> str:
    """What the processes of one start are known by."""
    return secrets.token_hex(8)


@contextmanager
def serving(contender: Contender, job: Job, first: Any) -> Iterator[Server]:
    """The server while it runs; NotMeasured says why it does not. `first` is a request that it must answer."""
    tree = Tree(job.token)
    output = job.scratch / "output.log"
    process = start(contender, job, output)
    try:
        wait_ready(contender.url(job), first, process, output)
        yield Server(contender.url(job), tree)
    finally:
        end(tree, process, contender.end_s)


def start(contender: Contender, job: Job, output: Path) -> subprocess.Popen[bytes]:
    """The first process, in a session of its own: Ctrl-C reaches this program alone, which ends it."""
    try:
        with output.open("w") as file:
            return subprocess.Popen(
                contender.command(job),
                cwd=job.scratch,
                env=contender.environment(job),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise NotMeasured(f"it cannot be started: {error.strerror}") from error


def wait_ready(url: str, first: Any, process: subprocess.Popen[bytes], output: Path) -> None:
    """Until the first request is answered with 200."""
    deadline = time.monotonic() + START_S
    said = "nothing"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise NotMeasured(
                f"it ended with code {process.returncode} at the start: {last_words(output)}"
            )
        try:
            answer = httpx.post(url, json=first, timeout=10)
            if answer.status_code == 200:
                return
            said = f"{answer.status_code} {answer.text[:200]}"
        except httpx.TransportError as error:
            said = str(error) or type(error).__name__
        time.sleep(POLL_S)
    raise NotMeasured(f"it did not answer within {START_S:.0f} s, last with: {said}")


def last_words(output: Path) -> str:
    """The last line of the output that says something."""
    lines = [line.strip() for line in output.read_text(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if len(line) > 3), "it said nothing")[:300]


def end(tree: Tree, process: subprocess.Popen[bytes], seconds: float) -> None:
    """SIGTERM to the first process, which ends the others where it is well behaved; SIGKILL to what is left after `seconds`."""
    tree.alive()
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    wait_gone(tree, process, seconds)
    # Python's resource tracker outlives the others to remove the shared memory that they leave.
    tree.signal(signal.SIGKILL, spare="resource_tracker")
    process.wait()
    wait_gone(tree, process, KILLED_S)
    tree.signal(signal.SIGKILL)


def wait_gone(tree: Tree, process: subprocess.Popen[bytes], seconds: float) -> None:
    """Until no process is left, or for `seconds`."""
    deadline = time.monotonic() + seconds
    while process.poll() is None or tree.alive():
        if time.monotonic() > deadline:
            return
        time.sleep(POLL_S)


def ask(url: str, requests: list[Any], concurrency: int) -> list[Any]:
    """The answers to all requests, as many under way at a time; NotMeasured at the first that is none."""
    limits = httpx.Limits(max_connections=concurrency)
    with httpx.Client(timeout=30, limits=limits) as client:

        def one(request: Any) -> Any:
            try:
                answer = client.post(url, json=request)
            except httpx.TransportError as error:
                raise NotMeasured(
                    f"a request failed: {str(error) or type(error).__name__}"
                ) from error
            if answer.status_code != 200:
                raise NotMeasured(f"it answered {answer.status_code}: {answer.text[:200]}")
            return json.loads(answer.content)

        with ThreadPoolExecutor(concurrency) as pool:
            return list(pool.map(one, requests))
