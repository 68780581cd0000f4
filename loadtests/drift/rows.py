"""Rows as a model takes them, and what a model and its panel say of them. It must not know shifts or windows.

Rows -> answers (ONNX Runtime, batches of similar length) -> signals -> Scored
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import onnxruntime

from models import bundle, profile, tasks

Arrays = dict[str, np.ndarray]

BATCH = 64
THREADS = 2


class Rows(NamedTuple):
    """Padded inputs by name [rows, ...], and labels int64 [rows]; -1 where nobody knows. `texts`: what tokens were made from."""

    inputs: Arrays
    labels: np.ndarray
    texts: Sequence[str] = ()

    @property
    def size(self) -> int:
        """How many."""
        return len(self.labels)


class Scored(NamedTuple):
    """Of each row: the signals that need no reference float32 [rows, signals], probabilities [rows, classes], embedding [rows, width], label."""

    values: np.ndarray
    probabilities: np.ndarray
    embedding: np.ndarray
    labels: np.ndarray

    @property
    def size(self) -> int:
        """How many rows."""
        return len(self.labels)

    def rows(self, chosen: np.ndarray) -> "Scored":
        """Some of them."""
        return Scored(*(array[chosen] for array in self))

    @property
    def accuracy(self) -> float | None:
        """The share of right answers; None where nobody knows."""
        if (self.labels < 0).any():
            return None
        return float((self.probabilities.argmax(1) == self.labels).mean())


class Model:
    """A committed model and the panel of its signals."""

    def __init__(self, directory: Path, variant: str) -> None:
        self.directory = directory
        self.manifest = bundle.read(directory)
        file = next(one.file for one in self.manifest.variants if one.name == variant)
        self.panel = profile.panel(self.manifest, directory, None)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(
            str(directory / file), options, providers=["CPUExecutionProvider"]
        )
        self._names = [output.name for output in self._session.get_outputs()]

    def name(self, role: Literal["probabilities", "embedding"]) -> str:
        """The output with this role."""
        found = self.manifest.output(role)
        assert found is not None
        return found.name

    def answers(self, rows: Rows) -> Arrays:
        """Every output, in the order of the rows."""
        found: Arrays = {}
        for chosen in batches(lengths(self.manifest.task, rows)):
            inputs = cut(self.manifest.task, {k: v[chosen] for k, v in rows.inputs.items()})
            for name, part in zip(self._names, self._session.run(None, inputs), strict=True):
                whole = found.setdefault(name, np.empty((rows.size, *part.shape[1:]), part.dtype))
                whole[chosen] = part
        return found

    def score(self, rows: Rows, outputs: Arrays) -> Scored:
        """What a detector may look at."""
        parts = [
            self.panel.values(
                {name: array[start : start + BATCH] for name, array in rows.inputs.items()},
                {name: array[start : start + BATCH] for name, array in outputs.items()},
            )
            for start in range(0, rows.size, BATCH)
        ]
        return Scored(
            np.concatenate(parts),
            outputs[self.name("probabilities")],
            outputs[self.name("embedding")],
            rows.labels,
        )


def lengths(task: tasks.Task, rows: Rows) -> np.ndarray:
    """How long each row is, where rows have lengths."""
    match task:
        case tasks.SeriesTask():
            found: np.ndarray = rows.inputs[task.lengths]
            return found
        case tasks.TextTask():
            return np.asarray(rows.inputs[task.mask].sum(1))
    return np.zeros(rows.size, dtype=np.int64)


def batches(sizes: np.ndarray) -> Iterator[np.ndarray]:
    """Row numbers, those of similar sizes together."""
    order = np.argsort(sizes, kind="stable")
    for start in range(0, len(order), BATCH):
        yield order[start : start + BATCH]


def cut(task: tasks.Task, inputs: Arrays) -> Arrays:
    """A batch without padding that no row of it needs."""
    match task:
        case tasks.SeriesTask():
            longest = int(inputs[task.lengths].max())
            return inputs | {task.input: inputs[task.input][:, :longest]}
        case tasks.TextTask():
            longest = int(inputs[task.mask].sum(1).max())
            return {name: array[:, :longest] for name, array in inputs.items()}
    return inputs
