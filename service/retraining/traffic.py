"""A job's directory, before anything runs on it: rows from the ledger, the parent's files, the request last. It must not know who launches it.

    request.json   traffic.npz   holdout.npz   reference.npz   parent/        (models.job)

What is trained on and what judges never share a row, nor two rows that are the same.
"""

import datetime
import hashlib
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from models import bundle, job
from models.errors import DataError
from models.tasks import Row as Tensors
from models.traffic import Traffic, encoded, fingerprint
from service.ledger.jobs import HASH_BYTES
from service.ledger.learning import Learning
from service.monitoring import payloads
from service.retraining.jobs import Learnt
from service.retraining.options import Retraining
from service.retraining.selection import Key, Row, settle, split
from service.retraining.triggers import Trigger

HOLDOUT = "holdout.npz"
PARENT = "parent"
MOST_BYTES = 512 * 1024 * 1024
"""Tensors that are taken into memory for one training: the newest."""
REFERENCES = 2000
"""Rows of recent traffic that the challenger's profile is made from."""


class Source(NamedTuple):
    """Where rows come from: `versions` took the same tensors as the parent; `trained`: hashes of rows that champions have learnt from."""

    learning: Learning
    model: str
    versions: Sequence[int]
    trained: Collection[bytes]
    after: int
    """Labels count as new behind this position."""
    drifting_since: float | None = None
    """When the drift began that is on, if one is (s since 1970)."""


class Known(NamedTuple):
    """A labelled row with what was sent, and the hash of it."""

    row: Row
    tensors: Tensors
    hash: bytes


class Written(NamedTuple):
    """What lies in the directory: in figures, the rows' hashes, and how the request is to name the files."""

    learnt: Learnt
    hashes: list[bytes]
    traffic: bundle.Rows
    reference: bundle.Rows | None


def write(
    directory: Path, source: Source, labels: Sequence[str], options: Retraining, trigger: Trigger
) -> Written:
    """Choose rows and put them down. DataError where none are left to train on, or to judge by."""
    counted = source.learning.counted(source.model, source.after)
    said = source.learning.said(source.model, trigger.since, trigger.until)
    rows, left_out = settle(
        [one for one in said if one.version in source.versions], labels, options.most_of_source
    )
    found = once(loaded(source.learning, rows))
    left_out["not kept, or twice the same"] += len(rows) - len(found)
    seen = {one.row.key for one in found.values() if one.hash in source.trained}
    train, judged = split([one.row for one in found.values()], options.held_out, seen)
    if not train or not judged:
        raise DataError(
            f"of {len(rows)} labelled rows {len(train)} are left to train on and {len(judged)} to judge by"
        )
    index = {name: number for number, name in enumerate(labels)}
    traffic = put(directory / job.TRAFFIC, [found[one.key] for one in train], index)
    holdout = put(directory / HOLDOUT, [found[one.key] for one in judged], index)
    hashes = [found[one.key].hash for one in train]
    reference = refer(directory / job.REFERENCE, source, {one.key for one in train}, set(hashes))
    learnt = Learnt(
        labels=counted.labels,
        with_payload=sum(counted.by_class.values()),
        trained=len(train),
        held_out=len(judged),
        reference=0 if reference is None else reference.count,
        left_out=dict(+left_out),
        since=train[0].at,
        until=train[-1].at,
        sha256=traffic.sha256,
        held_out_sha256=holdout.sha256,
        position=counted.position,
    )
    return Written(learnt, hashes, traffic, reference)


def loaded(learning: Learning, rows: Sequence[Row]) -> Iterator[Known]:
    """Rows with what was sent, newest first, as long as there is room for them."""
    room = MOST_BYTES
    newest = list(reversed(rows))
    for at in range(0, len(newest), 200):
        part = newest[at : at + 200]
        data = learning.data([row.key[0] for row in part])
        for row in part:
            if row.key not in data:
                continue
            tensors = payloads.decode(data[row.key])
            room -= sum(array.nbytes for array in tensors.values())
            if room < 0:
                return
            yield Known(row, tensors, hashed(tensors))


def hashed(tensors: Tensors) -> bytes:
    """What tells rows apart, as short as the ledger keeps it."""
    return bytes.fromhex(fingerprint(tensors))[:HASH_BYTES]


def once(rows: Iterator[Known]) -> dict[Key, Known]:
    """Of rows that are the same the newest, oldest first; none where they are said to be different things."""
    first: dict[bytes, Known] = {}
    torn: set[bytes] = set()
    for one in rows:
        other = first.setdefault(one.hash, one)
        if other.row.label != one.row.label:
            torn.add(one.hash)
    kept = [one for one in first.values() if one.hash not in torn]
    return {one.row.key: one for one in reversed(kept)}


def put(path: Path, rows: Sequence[Known], index: dict[str, int]) -> bundle.Rows:
    """Labelled rows as a file."""
    labels = np.array([index[one.row.label] for one in rows], dtype=np.int64)
    times = [one.row.at for one in rows]
    return saved(path, Traffic([one.tensors for one in rows], labels), min(times), max(times))


def refer(
    path: Path, source: Source, keys: Collection[Key], hashes: Collection[bytes]
) -> bundle.Rows | None:
    """The newest traffic that is not trained on, labelled or not: what came since it drifted, where that is enough. What was usual before would
    make the challenger call everything a drift that it was made for.
    """
    recent = source.learning.recent(source.model, source.versions, REFERENCES + len(keys))
    wanted = [key for key in recent if key not in keys][:REFERENCES]
    new = [key for key in wanted if made_at(key[0]) >= (source.drifting_since or 0.0)]
    wanted = new if len(new) >= job.LEAST_REFERENCE else wanted
    data = source.learning.data([id_ for id_, _ in wanted])
    rows, room = [], MOST_BYTES
    for key in wanted:
        tensors = payloads.decode(data[key]) if key in data else None
        if tensors is None or hashed(tensors) in hashes:
            continue
        room -= sum(array.nbytes for array in tensors.values())
        if room < 0:
            break
        rows.append(tensors)
    if not rows:
        return None
    times = [made_at(id_) for id_, _ in wanted]
    unknown = np.full(len(rows), -1, dtype=np.int64)
    return saved(path, Traffic(rows, unknown), min(times), max(times))


def made_at(prediction: str) -> float:
    """When a prediction was made: its id says so."""
    return int(prediction.replace("-", "")[:12], 16) / 1000


def saved(path: Path, traffic: Traffic, since: float, until: float) -> bundle.Rows:
    """A file of rows."""
    data = encoded(traffic)
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    return bundle.Rows(sha256, len(traffic.rows), written(since), written(until))


def written(at: float) -> str:
    """A time as people read it."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC).isoformat(timespec="seconds")


def parent(directory: Path, files: Path) -> str:
    """The parent's bundle in the job's directory, which a run on another machine can see; linked where that is possible."""
    target = directory / PARENT
    target.mkdir()
    for file in sorted(files.iterdir()):
        if not file.is_file():
            continue
        try:
            os.link(file, target / file.name)
        except OSError:
            shutil.copyfile(file, target / file.name)
    return PARENT


def tidy(directory: Path) -> None:
    """What people sent, and what has been published, is not kept a second time."""
    for name in (job.TRAFFIC, HOLDOUT, job.REFERENCE, job.HELD_OUT):
        (directory / name).unlink(missing_ok=True)
    for name in (job.BUNDLE, PARENT):
        shutil.rmtree(directory / name, ignore_errors=True)
