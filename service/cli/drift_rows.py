"""Rows for a profile: from the ledger of a service, or from a file. It must not know what becomes of them."""

import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec
import numpy as np

from models import tasks
from models.bundle import Manifest
from models.errors import InputError
from service import settings
from service.monitoring import payloads

DAY = 86_400.0
AT_ONCE = 64
"""Rows in a batch."""
LABELS = "labels"


class Known(NamedTuple):
    """One row as the model takes it, without a batch axis, and its class, if somebody told."""

    row: dict[str, np.ndarray]
    label: int | None


class Line(msgspec.Struct):
    """A line of a .jsonl file: one of the first three, an image by the path of its file."""

    text: str | None = None
    series: list[Any] | None = None
    image: str | None = None
    label: str | None = None


def from_ledger(manifest: Manifest, days: float, most: int) -> list[Known]:
    """The newest recorded inputs of a model, whichever version they came to."""
    from service.ledger.ledger import Ledger  # SQLAlchemy: no other command needs it

    ledger = Ledger.of(settings.load())
    now = time.time()
    try:
        kept = list(ledger.payloads(manifest.name, now - days * DAY, now + DAY))[-most:]
    finally:
        ledger.close()
    return [Known(payloads.decode(one.data), index(manifest, told)) for one, told in kept]


def from_file(manifest: Manifest, directory: Path, path: Path, most: int) -> list[Known]:
    """Rows of an .npz file (an array per input tensor, perhaps `labels`) or a .jsonl file (what people send, one a line)."""
    try:
        if path.suffix == ".npz":
            return list(islice(of_arrays(manifest, path), most))
        return list(islice(of_lines(manifest, directory, path), most))
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise click.ClickException(f"{path}: {error}") from error


def of_arrays(manifest: Manifest, path: Path) -> Iterator[Known]:
    """The rows of an .npz file."""
    with np.load(path, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    labels = arrays.pop(LABELS, None)
    names = {tensor.name for tensor in manifest.inputs}
    if set(arrays) != names:
        raise InputError(
            f"{path} holds {', '.join(sorted(arrays))}; the model takes {', '.join(sorted(names))}"
        )
    if len({len(array) for array in arrays.values()}) != 1:
        raise InputError(f"the arrays in {path} have different numbers of rows")
    for number in range(len(next(iter(arrays.values())))):
        row = {name: array[number] for name, array in arrays.items()}
        yield Known(row, None if labels is None else index(manifest, labels[number]))


def of_lines(manifest: Manifest, directory: Path, path: Path) -> Iterator[Known]:
    """The rows of a .jsonl file."""
    processor = tasks.processor(manifest.task, directory)
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        one = msgspec.json.decode(line, type=Line)
        item = (path.parent / one.image).read_bytes() if one.image else one.text or one.series
        try:
            yield Known(processor.row(item), index(manifest, one.label))
        except InputError as error:
            raise InputError(f"{path}, line {number}: {error}") from error


def index(manifest: Manifest, label: Any) -> int | None:
    """A class by its name or number. InputError where there is none such."""
    if label is None:
        return None
    if isinstance(label, str) and label in manifest.labels:
        return manifest.labels.index(label)
    if not isinstance(label, str) and 0 <= int(label) < len(manifest.labels):
        return int(label)
    raise InputError(f"'{label}' is no class of {manifest.name}, only {', '.join(manifest.labels)}")


def in_batches(
    rows: Sequence[Known],
) -> list[tuple[dict[str, np.ndarray], list[int] | None]]:
    """Rows of equal shapes together, with the labels if all rows have one."""
    labelled = all(one.label is not None for one in rows)
    groups: defaultdict[object, list[Known]] = defaultdict(list)
    for one in rows:
        groups[tasks.shape_key(one.row)].append(one)
    return [
        (
            tasks.stack([one.row for one in part]),
            [one.label for one in part if one.label is not None] if labelled else None,
        )
        for group in groups.values()
        for part in (group[at : at + AT_ONCE] for at in range(0, len(group), AT_ONCE))
    ]
