"""What every peer's program needs and no peer brings: its job, the ONNX session, a request's JSON as arrays, rows as one batch.

It runs inside the peers' environments, so it knows only numpy and ONNX Runtime, and nothing of this project. The wire is the
same for all: the Open Inference Protocol's JSON; one request is one row.

    JSON -> read -> Row -> Session.run(rows, padded to the longest) -> probabilities -> answer -> JSON
"""

import json
import os
from typing import Any, NamedTuple

import numpy as np
import onnxruntime

Row = dict[str, np.ndarray]

TYPES = {"FP32": "float32", "INT32": "int32", "INT64": "int64"}
OUTPUT = "probabilities"


class Job(NamedTuple):
    """What to serve, and how: `rows` is the largest batch, 1 where batching is off; `wait_ms` how long one may be waited for."""

    name: str
    file: str
    port: int
    rows: int
    wait_ms: float

    @property
    def batching(self) -> bool:
        """Whether rows of several requests may run together."""
        return self.rows > 1


def job() -> Job:
    """As the comparison set it in the environment, which every server hands on to its workers."""
    raw = json.loads(os.environ["COMPARE_JOB"])
    return Job(raw["name"], raw["file"], raw["port"], raw["rows"], raw["wait_ms"])


def read(request: dict[str, Any]) -> Row:
    """The row that a request holds; each array keeps its first axis, of 1."""
    return {
        one["name"]: np.array(one["data"], dtype=TYPES[one["datatype"]]).reshape(one["shape"])
        for one in request["inputs"]
    }


def answer(probabilities: np.ndarray) -> dict[str, Any]:
    """The response to one row [classes]."""
    data = probabilities.tolist()
    return {
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [1, len(data)], "data": data}]
    }


def join(arrays: list[np.ndarray]) -> np.ndarray:
    """Rows [1, ...] as one batch; where they differ in length, zeros behind the shorter (all three models pad with zeros)."""
    first = arrays[0].shape
    if all(array.shape == first for array in arrays):
        return np.concatenate(arrays)
    longest = max(array.shape[1] for array in arrays)
    joined = np.zeros((len(arrays), longest, *first[2:]), dtype=arrays[0].dtype)
    for row, array in zip(joined, arrays, strict=True):
        row[: array.shape[1]] = array[0]
    return joined


class Session:
    """ONNX Runtime on the CPU with one thread: what every server here runs."""

    def __init__(self, file: str) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self.onnx = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def run(self, rows: list[Row]) -> np.ndarray:
        """Probabilities [rows, classes]."""
        return self.feed({name: join([row[name] for row in rows]) for name in rows[0]})

    def feed(self, feeds: Row) -> np.ndarray:
        """Probabilities of a batch that is one already."""
        probabilities: np.ndarray = self.onnx.run([OUTPUT], feeds)[0]
        return probabilities
