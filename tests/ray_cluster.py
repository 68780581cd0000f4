"""A real Ray cluster of one node, from an environment of its own that is made once: .evergreen/ray."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import httpx
import psutil
import pytest
from live import PATIENCE, until

VERSION = "2.60.0"
FOLDER = Path(__file__).parents[1] / ".evergreen" / "ray"
INSTALL_S = 600


class Cluster(NamedTuple):
    """Its head's address, and the file with its token."""

    address: str
    token: Path


def program() -> str:
    """The path of `ray`. A person may be without a network; CI may not."""
    path, stamp = FOLDER / "bin" / "ray", FOLDER / "ray.stamp"
    if stamp.is_file() and stamp.read_text() == VERSION:
        return str(path)
    shutil.rmtree(FOLDER, ignore_errors=True)
    pip = [FOLDER / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install"]
    steps = ([sys.executable, "-m", "venv", FOLDER], [*pip, "--quiet", f"ray[default]=={VERSION}"])
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, timeout=INSTALL_S, check=False)
        if done.returncode:
            told = f"Ray cannot be installed: {done.stderr.strip().splitlines()[-1]}"
            (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(told)
    stamp.write_text(VERSION)
    return str(path)


@contextmanager
def cluster(directory: Path) -> Iterator[Cluster]:
    """A cluster that wants a token."""
    token = directory / "ray.token"
    token.write_text(secrets.token_hex(32))
    with socket.create_server(("", 0)) as one, socket.create_server(("", 0)) as other:
        port, client = one.getsockname()[1], other.getsockname()[1]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "EVERGREEN_"))}
    environ = kept | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    # Its sockets' paths must be short.
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as scratch:
        command = [program(), "start", "--head", "--block", "--disable-usage-stats"]
        command += ["--num-cpus=2", "--object-store-memory=100000000", f"--temp-dir={scratch}"]
        command += [
            "--port=0",
            f"--ray-client-server-port={client}",
            "--dashboard-agent-listen-port=0",
        ]
        command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={port}"]
        with (directory / "ray.log").open("w") as output:
            process = psutil.Popen(command, stdout=output, stderr=output, env=environ)
        try:
            made = Cluster(f"http://127.0.0.1:{port}", token)

            def ready() -> bool:
                assert process.poll() is None, (directory / "ray.log").read_text()
                return takes_jobs(made)

            until(ready, "a node that takes jobs", 3 * PATIENCE)
            yield made
        finally:
            kill(process)


def kill(process: psutil.Popen) -> None:
    """End it with all that it has started, at once: on SIGTERM it would wait for its jobs."""
    everything = [process, *process.children(recursive=True)]
    for one in everything:
        with suppress(psutil.NoSuchProcess):
            one.kill()
    psutil.wait_procs(everything, PATIENCE)


def takes_jobs(made: Cluster) -> bool:
    """Whether a job could be submitted: the head listens before any node does."""
    headers = {"authorization": f"Bearer {made.token.read_text()}"}
    order = {"entrypoint": "true", "submission_id": f"first-{secrets.token_hex(4)}"}
    try:
        answer = httpx.post(f"{made.address}/api/jobs/", json=order, headers=headers, timeout=30)
    except httpx.HTTPError:
        return False
    return answer.is_success
