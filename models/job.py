"""A retraining as a directory: what is asked, how far it is, what came of it. It must not know who asks or how training is done.

request.json    written first, by whoever asks
traffic.npz     beside it, labelled rows to learn from (models.traffic)
reference.npz   rows that the new version will meet and must not learn from; -1 where there is no label
progress.jsonl  a line whenever something has moved
held_out.npz    rows of the recipe's own data that neither version learned from, for both of them to answer
bundle/         the finished version
result.json     written last: without it, the run did not end
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Protocol

import msgspec

from models.bundle import Metric, Name, Rows, Version
from models.errors import DataError

REQUEST, PROGRESS, RESULT = "request.json", "progress.jsonl", "result.json"
TRAFFIC, REFERENCE, HELD_OUT = "traffic.npz", "reference.npz", "held_out.npz"
BUNDLE, LOG = "bundle", "log.txt"

LEAST_REFERENCE = 300
"""So many rows make a profile of their own."""

Stage = Literal["data", "fit", "export", "evaluate", "profile", "bundle"]
Value = int | float | str | bool


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What is asked of a training run. `parent`: the version to go on from, whose bundle lies in `weights` (as seen from the job's directory)."""

    id: str
    model: Name
    version: Version
    recipe: str
    """A recipe's name, or the path of a file that holds one."""
    parent: Version | None = None
    weights: str | None = None
    traffic: Rows | None = None
    reference: Rows | None = None
    base_share: Annotated[float, msgspec.Meta(ge=0, lt=1)] | None = None
    """The share of rows from the recipe's own data in every batch: what keeps old knowledge. None: what the recipe says."""
    parameters: dict[str, Value] = {}
    """Hyper-parameters that are to be others than the recipe's."""
    seed: int = 1
    deadline: float | None = None
    """When the run gives up, in seconds since 1970."""
    trigger: str = "person"
    reason: str = ""
    evidence: dict[str, Value] = {}


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a run is: `done` of `total` steps of a stage, with what is known of it."""

    at: float
    stage: Stage
    done: float = 0
    total: float = 0
    loss: float | None = None
    accuracy: float | None = None
    text: str = ""


class ClassScore(msgspec.Struct, frozen=True):
    """Of `n` held-out rows of one class: the shares that the champion and the challenger get right."""

    label: str
    n: int
    champion: float
    challenger: float


class Regression(msgspec.Struct, frozen=True):
    """What both versions' files make of the recipe's `n` held-out rows: accuracies, and the rows that only one of them gets right."""

    n: int
    champion: float
    challenger: float
    gained: int
    lost: int
    classes: tuple[ClassScore, ...]


class Result(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of a run: a bundle whose manifest has `manifest_sha256`, or `error`, a sentence.

    `regression`: where there was a champion to compare with. `held_out`: the sha256 of that file.
    """

    ok: bool
    seconds: float
    manifest_sha256: str = ""
    error: str = ""
    metrics: dict[str, Metric] = {}
    regression: Regression | None = None
    held_out: str = ""


def write(directory: Path, name: str, value: msgspec.Struct) -> None:
    """Put a file of the job down, whole or not at all."""
    temporary = directory / f".{name}.{os.getpid()}"
    temporary.write_bytes(msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")
    temporary.replace(directory / name)


def read_request(directory: Path) -> Request:
    """DataError where there is none, or it is malformed."""
    try:
        return msgspec.json.decode((directory / REQUEST).read_bytes(), type=Request)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{directory / REQUEST}: {error}") from error


def read_result(directory: Path) -> Result | None:
    """None while the run has not ended. DataError where the file is malformed."""
    try:
        return msgspec.json.decode((directory / RESULT).read_bytes(), type=Result)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(f"{directory / RESULT}: {error}") from error


def read_progress(directory: Path, offset: int = 0) -> tuple[list[Progress], int]:
    """The lines behind byte `offset`, and where they end. A line that is still being written is left for the next time."""
    try:
        with (directory / PROGRESS).open("rb") as file:
            file.seek(offset)
            data = file.read()
    except FileNotFoundError:
        return [], offset
    whole = data[: data.rfind(b"\n") + 1]
    return list(decoded(whole)), offset + len(whole)


def decoded(lines: bytes) -> Iterator[Progress]:
    """Every line that can be read: a run that died may have left half of one."""
    for line in lines.splitlines():
        try:
            yield msgspec.json.decode(line, type=Progress)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue


class Tell(Protocol):
    """Hears how far a run is."""

    def __call__(
        self,
        stage: Stage,
        done: float = 0,
        total: float = 0,
        *,
        loss: float | None = None,
        accuracy: float | None = None,
        text: str = "",
    ) -> None: ...


class Reporter:
    """Tells how far a run is, at most ten times a second within a stage."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / PROGRESS
        self._last, self._stage = 0.0, ""
        if self._path.exists() and not self._path.read_bytes().endswith(b"\n"):
            with self._path.open("ab") as file:
                file.write(b"\n")  # behind the half line of a run that died

    def __call__(
        self,
        stage: Stage,
        done: float = 0,
        total: float = 0,
        *,
        loss: float | None = None,
        accuracy: float | None = None,
        text: str = "",
    ) -> None:
        """Add a line, unless the last one of this stage is very young and nothing ends with this one."""
        now = time.time()
        if stage == self._stage and now - self._last < 0.1 and done < total:
            return
        self._last, self._stage = now, stage
        line = Progress(round(now, 3), stage, done, total, loss, accuracy, text)
        with self._path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")


def nothing(*_: object, **__: object) -> None:
    """A reporter for whom nobody waits."""
