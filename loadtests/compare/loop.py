"""The limit: ONNX Runtime called in a loop, one thread, a process of its own: `python -m loadtests.compare.loop FILE ROWS.npz`.

Batches are taken in the order of arrival and padded to their longest row, as every server here does when it batches.
"""

import argparse
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime

Row = dict[str, np.ndarray]


class Pace(msgspec.Struct, frozen=True):
    """One batch size: rows a second, and the median of one run in milliseconds."""

    batch: int
    rows_per_second: float
    p50_ms: float


def main() -> None:
    """One line of JSON with a Pace for each batch size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--seconds", type=float, default=2.0)
    options = parser.parse_args()
    rows = read_rows(options.rows)
    one_thread = onnxruntime.SessionOptions()
    one_thread.intra_op_num_threads = one_thread.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        options.file, one_thread, providers=["CPUExecutionProvider"]
    )
    paces = [pace(session, rows, int(size), options.seconds) for size in options.batches.split(",")]
    print(msgspec.json.encode(paces).decode())


def pace(session: onnxruntime.InferenceSession, rows: list[Row], size: int, seconds: float) -> Pace:
    """Run batches of `size` until the time is over; padding is done before, it is no part of the limit."""
    batches = itertools.cycle([padded(chosen) for chosen in chunks(rows, size)])
    for _ in range(3):
        session.run(None, next(batches))
    taken: list[float] = []
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        session.run(["probabilities"], next(batches))
        taken.append(time.perf_counter() - start)
    return Pace(size, size * len(taken) / sum(taken), 1000 * float(np.median(taken)))


def chunks(rows: list[Row], size: int) -> Iterator[list[Row]]:
    """Full batches of consecutive rows; what is left over begins again with the first rows."""
    for start in range(0, len(rows), size):
        chosen = rows[start : start + size]
        yield chosen + rows[: size - len(chosen)]


def padded(rows: list[Row]) -> Row:
    """Rows [1, ...] as one batch, with zeros behind the shorter."""
    return {name: joined([row[name] for row in rows]) for name in rows[0]}


def joined(arrays: list[np.ndarray]) -> np.ndarray:
    """Arrays that may differ in their second axis, one below the other."""
    if arrays[0].ndim == 1:
        return np.concatenate(arrays)
    longest = max(array.shape[1] for array in arrays)
    batch = np.zeros((len(arrays), longest, *arrays[0].shape[2:]), dtype=arrays[0].dtype)
    for row, array in zip(batch, arrays, strict=True):
        row[: array.shape[1]] = array[0]
    return batch


def write_rows(path: Path, rows: list[Row]) -> None:
    """Rows of different lengths as one file."""
    arrays = {f"{i}.{name}": array for i, row in enumerate(rows) for name, array in row.items()}
    np.savez(path, **arrays)  # type: ignore[arg-type]


def read_rows(path: Path) -> list[Row]:
    """What `write_rows` wrote."""
    rows: dict[int, Row] = {}
    with np.load(path, allow_pickle=False) as archive:
        for key in archive.files:
            number, _, name = key.partition(".")
            rows.setdefault(int(number), {})[name] = archive[key]
    return [rows[i] for i in sorted(rows)]


if __name__ == "__main__":
    main()
