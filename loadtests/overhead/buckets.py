"""The limit in Evergreen's buckets: `python -m loadtests.overhead.buckets FILE ROWS.npz --lengths 16,32 --caps '{"16": 8}'`.

ONNX Runtime in a loop with one thread, full batches of each bucket, padded before: what a perfect service would deliver.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from loadtests.compare.loop import Row, read_rows
from loadtests.compare.rows import OUTPUT, length
from loadtests.lengths import policies
from loadtests.lengths.policies import Planned
from service.engine import native
from service.engine.config import Options


class Pace(msgspec.Struct, frozen=True):
    """Rows a second, and the median of one batch in milliseconds."""

    rows_per_second: float
    p50_ms: float


def main() -> None:
    """One line of JSON with the Pace."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("--lengths", required=True, help="the buckets' lengths")
    parser.add_argument("--caps", required=True, help="JSON: most rows by length")
    parser.add_argument("--seconds", type=float, default=2.0)
    given = parser.parse_args()
    rows = read_rows(given.rows)
    session = native.build(given.file, "cpu", Options())
    caps = {int(name): cap for name, cap in msgspec.json.decode(given.caps).items()}
    buckets = [int(one) for one in given.lengths.split(",")]
    plan = policies.bucketed([length(row) for row in rows], buckets, caps)
    full, weights = filled(plan)
    batches = [policies.padded([rows[i] for i in one.rows], one.length) for one in full]
    seconds = timed(lambda batch: session.run([OUTPUT], batch), batches, given.seconds)
    print(msgspec.json.encode(pace(seconds, full, weights)).decode())


def filled(plan: Sequence[Planned]) -> tuple[list[Planned], list[int]]:
    """Batches of a bucket made as large as its largest by repeating rows, and how many rows of each are no repetition."""
    caps: dict[int, int] = {}
    for one in plan:
        caps[one.length] = max(len(one.rows), caps.get(one.length, 0))
    full = []
    for one in plan:
        repeated = itertools.islice(itertools.cycle(one.rows), caps[one.length])
        full.append(Planned(list(repeated), one.length))
    return full, [len(one.rows) for one in plan]


def timed(
    run: Callable[[Row], object], batches: Sequence[Row], seconds: float
) -> list[list[float]]:
    """Seconds of the runs of each batch: all in turn until the time is over, each at least once after a warm-up of its length."""
    for batch in {next(iter(batch.values())).shape: batch for batch in batches}.values():
        run(batch)
    taken: list[list[float]] = [[] for _ in batches]
    begun = time.perf_counter()
    for number in itertools.cycle(range(len(batches))):
        if taken[number] and time.perf_counter() - begun >= seconds:
            break
        started = time.perf_counter()
        run(batches[number])
        taken[number].append(time.perf_counter() - started)
    return taken


def pace(seconds: list[list[float]], full: Sequence[Planned], weights: Sequence[int]) -> Pace:
    """Rows a second in the rows' own mixture: a batch counts for the rows in it that are no repetition."""
    spent = sum(
        weight * float(np.mean(taken)) / len(one.rows)
        for taken, one, weight in zip(seconds, full, weights, strict=True)
    )
    every = [one for taken in seconds for one in taken]
    return Pace(sum(weights) / spent, 1000 * float(np.median(every)))


if __name__ == "__main__":
    main()
