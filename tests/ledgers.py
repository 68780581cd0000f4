"""Records for ledgers, a PostgreSQL server of one's own, and a program that writes to a ledger until it is killed.

python tests/ledgers.py open|label URL    python tests/ledgers.py compete URL MACHINE
"""

import secrets
import sys
import time
import uuid
from typing import Any

import msgspec

from loadtests.torture import postgres
from service.ledger.ledger import Ledger
from service.ledger.records import Block, Evaluation, Label, Payload, Prediction

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


class Server(postgres.Server):
    """A PostgreSQL server with a database for each test."""

    def fresh(self) -> str:
        """The URL of a database with nothing in it: the same one each time, which is quicker than another."""
        if not self.said("SELECT 1 FROM pg_database WHERE datname = 'ledger'"):
            self.said("CREATE DATABASE ledger")
        self.said("DROP SCHEMA public CASCADE; CREATE SCHEMA public", "ledger")
        return self.url("ledger")


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
