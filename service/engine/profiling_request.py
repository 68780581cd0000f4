"""What the program that builds profiles is asked, and the rows that go with it. It must not know ONNX Runtime: whoever asks writes it, too."""

from pathlib import Path

import msgspec
import numpy as np

from models.profile import About
from service.settings import Provider

PROGRAM = "service.engine.profiling"
LABELS = "labels"


class Request(msgspec.Struct, frozen=True):
    """`rows`: what `write_rows` wrote; the profile comes to `output`."""

    directory: str
    rows: str
    output: str
    about: About
    provider: Provider = "auto"
    variant: str | None = None


def write_rows(path: Path, batches: list[tuple[dict[str, np.ndarray], list[int] | None]]) -> None:
    """Batches of rows, inputs [rows, ...] with the labels of all or of none, as a file."""
    arrays: dict[str, np.ndarray] = {}
    for index, (inputs, labels) in enumerate(batches):
        arrays |= {f"{index}:input:{name}": array for name, array in inputs.items()}
        if labels is not None:
            arrays[f"{index}:{LABELS}"] = np.array(labels, dtype=np.int64)
    np.savez(path, **arrays)  # type: ignore[arg-type]


def read_rows(path: Path) -> list[tuple[dict[str, np.ndarray], np.ndarray | None]]:
    """What `write_rows` was given."""
    found: dict[int, dict[str, np.ndarray]] = {}
    labels: dict[int, np.ndarray] = {}
    with np.load(path, allow_pickle=False) as archive:
        for key in archive.files:
            index, kind, *name = key.split(":", 2)
            if kind == LABELS:
                labels[int(index)] = archive[key]
            else:
                found.setdefault(int(index), {})[name[0]] = archive[key]
    return [(inputs, labels.get(index)) for index, inputs in sorted(found.items())]
