"""What is sent: held-out rows with their real lengths, as tensors and as JSON. It must not know who is asked.

held-out rows -> {input: array [1, ...]} -> the Open Inference Protocol's JSON, one request a row
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

from models import bundle, tasks
from models.datasets import fashion, reviews, watch
from models.errors import DataError

Row = dict[str, np.ndarray]

MOST = 512
PICTURES = 256
SEED = 7
TYPES = {"float32": "FP32", "int32": "INT32", "int64": "INT64"}
OUTPUT = "probabilities"


class Rows(NamedTuple):
    """Rows of one model, and where they come from in words."""

    rows: list[Row]
    source: str


def held_out(name: str, directory: Path) -> Rows:
    """Held-out rows of a model in a random order that is always the same; the bundle's own samples where the data are not there."""
    manifest = bundle.read(directory)
    try:
        items, source = SOURCES[name]()
    except DataError as error:
        return samples(directory, str(error))
    order = np.random.default_rng(SEED).permutation(len(items))[:MOST]
    processor = tasks.processor(manifest.task, directory)
    rows = [tasks.stack([processor.row(items[i])]) for i in order]
    return Rows(rows, f"{len(rows)} {source}")


def pictures() -> tuple[list[Any], str]:
    """The first pictures of the official test split."""
    images, _ = fashion.read("t10k")
    return list(images[:PICTURES]), "held-out pictures of Fashion-MNIST"


def series() -> tuple[list[Any], str]:
    """Windows of 2-6 s, lengths drawn uniformly: what accuracy_mixed_lengths is measured on."""
    return list(watch.windows(watch.parts()[1]).series), "held-out windows of 2-6 s"


def sentences() -> tuple[list[Any], str]:
    """The held-out sentences."""
    return list(reviews.rotten_tomatoes()[1].texts), "held-out sentences about films"


SOURCES = {
    "fashion-cnn": pictures,
    "activity-lstm": series,
    "sentiment-transformer": sentences,
}


def samples(directory: Path, reason: str) -> Rows:
    """The rows that the bundle keeps, cut to their real lengths."""
    manifest = bundle.read(directory)
    inputs, _ = bundle.read_samples(directory)
    count = len(next(iter(inputs.values())))
    rows = [cut({k: v[i : i + 1] for k, v in inputs.items()}, manifest.task) for i in range(count)]
    return Rows(rows, f"{count} rows of the bundle's samples, because {reason}")


def cut(row: Row, task: tasks.Task) -> Row:
    """A row without its padding."""
    match task:
        case tasks.SeriesTask():
            return row | {task.input: row[task.input][:, : int(row[task.lengths][0])]}
        case tasks.TextTask():
            length = int(row[task.mask].sum())
            return {name: array[:, :length] for name, array in row.items()}
        case _:
            return row


def length(row: Row) -> int:
    """How long a row is along the axis in which rows differ."""
    first = next(iter(row.values()))
    return first.shape[1] if first.ndim > 1 else 1


def request(row: Row) -> dict[str, Any]:
    """The protocol's request for one row, asking for the probabilities alone."""
    inputs = [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": TYPES[array.dtype.name],
            "data": numbers(array),
        }
        for name, array in row.items()
    ]
    return {"inputs": inputs, "outputs": [{"name": OUTPUT}]}


def numbers(array: np.ndarray) -> list[Any]:
    """The values, flat. A float32 is written with the fewest digits that name it, not with its float64's seventeen."""
    flat = array.ravel()
    if flat.dtype == np.float32:
        flat = flat.astype(str).astype(np.float64)
    values: list[Any] = flat.tolist()
    return values


def compact(value: Any) -> bytes:
    """JSON without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()


def answers(file: Path, rows: list[Row]) -> np.ndarray:
    """What ONNX Runtime says to each row on its own: probabilities [rows, classes]."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return np.concatenate([session.run([OUTPUT], row)[0] for row in rows])
