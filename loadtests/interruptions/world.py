"""The service that is hit: its settings, its places, its processes. It must not know what is done to it, or why.

folder/models              the seed: version 1
folder/disk/registry       versions and who answers
folder/disk/state          ledger, jobs
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import httpx

from loadtests.compare.processes import MARK, PROC, Tree
from loadtests.demo.service import SETTINGS, free_port
from loadtests.interruptions.disk import Disk
from models import job
from models.errors import EvergreenError

MODEL = "stripes"
RECIPE = Path(__file__).with_name("recipe.py")
READY_S, LOOK_S = 90.0, 0.05
CONTROL, FRONT_END, ENGINE, RUN = "evergreen\0serve", "service.frontend", "service.engine", "--job"

TOML = """\
port = {port}
front_ends = 2
registry = "{disk}/registry"
registry_poll_s = 0.3
state = "{disk}/state"
keep_previous_s = 1
log_level = "info"

[models.stripes]
error_tolerance = 0.5

[models.stripes.retraining]
recipe = "{recipe}"
min_labels = 24
min_per_class = 2
cooldown_h = 0
held_out = 0.4
trial_percent = 100
trial_requests = 3
trial_s = 0.5
watch_h = 0.001
gate.margin = 0.9
gate.forgotten = 0.5
gate.calibration = 1.0
gate.latency = 100.0
gate.latency_slack_ms = 1000.0
"""
"""A policy that thirty labels satisfy, and a gate that only what is broken fails: what is tested is the way, not the accuracy."""


class Failed(EvergreenError):
    """What should have come about did not."""


class World:
    """One service with everything that it has."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self.folder, self.disk = folder, disk
        self.models, self.registry = folder / "models", disk.path / "registry"
        self.ledger = f"sqlite:///{disk.path / 'state' / 'ledger.sqlite'}"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=20)
        self._tree = Tree(uuid.uuid4().hex)
        self._control: subprocess.Popen[bytes] | None = None
        settings = TOML.format(port=port, disk=disk.path, recipe=RECIPE)
        (folder / SETTINGS).write_text(settings)
        (folder / "run").mkdir()

    def train(self) -> None:
        """Make version 1."""
        where = (f"--out={self.models}", f"--runs={self.folder / 'runs'}")
        command = [sys.executable, "-m", "models.train", str(RECIPE), *where]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode:
            raise Failed(f"version 1 cannot be trained: {done.stderr.strip()[-500:]}")

    def start(self) -> None:
        """Start the service, without waiting for it."""
        environ = {k: v for k, v in os.environ.items() if not k.startswith("EVERGREEN_")}
        # Its own folder for sockets: those of services that were killed stay behind.
        environ |= {MARK: self._tree.token, "TMPDIR": str(self.folder / "run")}
        command = [str(Path(sys.executable).parent / "evergreen"), "serve"]
        command += ["--repository", str(self.models)]
        with (self.folder / "log").open("ab") as log:
            self._control = subprocess.Popen(
                command, cwd=self.folder, env=environ, stdout=log, stderr=log
            )

    def wait_ready(self) -> None:
        """Returns once it answers. Failed where it does not, or ends."""
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if self._control is None or self._control.poll() is not None:
                break
            try:
                if self.client.get("/v2/health/ready").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(LOOK_S)
        raise Failed(f"the service is not ready: {(self.folder / 'log').read_text()[-800:]}")

    def alive(self) -> bool:
        """Whether its first process runs."""
        return self._control is not None and self._control.poll() is None

    def end(self) -> None:
        """End everything, runs too."""
        self.client.close()
        self.kill()
        if self._control is not None:
            self._control.wait()

    def processes(self, kind: str = "", holding: str = "") -> list[int]:
        """Those that run, of a kind: whose command line holds both texts."""
        found = []
        for pid in self._tree.alive():
            try:
                command = (PROC / str(pid) / "cmdline").read_text(errors="replace")
            except OSError:
                continue
            if kind in command and holding in command:
                found.append(pid)
        return found

    def kill(self, kind: str = "", holding: str = "") -> int:
        """SIGKILL to them, all at once; how many they were."""
        found = self.processes(kind, holding)
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if self._control is not None and self._control.pid in found:
            self._control.wait()
        return len(found)

    def get(self, path: str, **query: Any) -> Any:
        """What is answered. Failed where that is an error, or nothing."""
        return self._asked("GET", path, params=query)

    def post(self, path: str, body: Any, **headers: str) -> Any:
        """The same for a question with a body."""
        return self._asked("POST", path, json=body, headers=headers)

    def _asked(self, method: str, path: str, **more: Any) -> Any:
        try:
            answer = self.client.request(method, path, **more)
        except httpx.TransportError as error:
            raise Failed(f"{method} {path}: {type(error).__name__}") from error
        if not answer.is_success:
            raise Failed(f"{method} {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json()

    def directory(self, one: str) -> Path:
        """Where a job lies."""
        return self.disk.path / "state" / "jobs" / one

    def stage(self, one: str) -> str:
        """How far the run of a job is, by its own word."""
        lines, _ = job.read_progress(self.directory(one))
        return lines[-1].stage if lines else ""
