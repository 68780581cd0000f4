"""How batches scale here: measured when a version is first loaded on a machine, kept on disk for the next time.

    settings > inherited from the version that it replaces > kept from an earlier load > measured now

It must not know ONNX Runtime: it is handed something that runs a batch.
"""

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from service.engine import cores
from service.engine.latency import Bucket, Curve, knee, label
from service.errors import DeviceLost, EngineError

SIZES = (1, 2, 4, 8, 16, 32)
ROUNDS = 3
BUDGET = 1.5
"""Seconds of runs that a measurement may take; lengths that it does not come to take the cap of their neighbour."""
BESIDE = 0.0002
"""Seconds that a batch costs beside its run: threads, the front end and clients wake once for each. Measured on two cores, 0.1-0.2 ms."""
LOOKS = 3
HOPELESS = 0.85
"""A size with less than this share of the best throughput is not looked at again, nor is a larger one."""

Timed = Callable[[Bucket, int], float]
"""Runs one batch of a bucket and rows; the seconds that it took."""


class Sizes(msgspec.Struct, frozen=True):
    """One bucket of a curve as it is kept: seconds of a batch by its rows."""

    length: int
    shapes: tuple[tuple[int, ...], ...]
    seconds: dict[int, float]


class Calibration(msgspec.Struct, frozen=True):
    """Caps by bucket with the curve behind them. `source` says where both come from."""

    source: Literal["settings", "inherited", "kept", "measured", "alone"]
    caps: dict[Bucket, int]
    curve: tuple[Sizes, ...] = ()

    def report(self) -> dict[str, object]:
        """What is shown, and what a later version may inherit."""
        return {
            "source": self.source,
            "caps": {label(bucket): cap for bucket, cap in self.caps.items()},
            "curve": msgspec.to_builtins(self.curve, str_keys=True),
        }


def calibrate(
    buckets: Sequence[Bucket],
    timed: Timed,
    *,
    fixed: int | None = None,
    inherited: Sequence[Sizes] = (),
    kept: Path | None = None,
) -> Calibration:
    """The caps to serve with. `fixed`: what the settings say; `kept`: where a measurement is looked for, and left."""
    if fixed is not None:
        return Calibration("settings", dict.fromkeys(buckets, fixed))
    if inherited:
        return Calibration("inherited", caps_of(inherited), tuple(inherited))
    if kept is None:
        curve = measure(buckets, timed)
        return Calibration("measured", caps_of(curve), curve)
    with alone(kept.parent):
        if (known := read(kept)) is not None:
            return Calibration("kept", caps_of(known), known)
        curve = measure(buckets, timed)
        write(kept, curve)
    return Calibration("measured", caps_of(curve), curve)


def measure(buckets: Sequence[Bucket], timed: Timed, budget: float = BUDGET) -> tuple[Sizes, ...]:
    """The fastest of a few runs at each size, shortest and longest bucket first, until the budget is spent."""
    spent = 0.0
    found: dict[Bucket, dict[int, float]] = {}
    for bucket in outside_in(buckets):
        if found and spent >= budget:
            break
        share = (budget - spent) / (len(buckets) - len(found))
        found[bucket], taken = measure_bucket(bucket, timed, share)
        spent += taken
    return tuple(Sizes(*bucket, found[bucket]) for bucket in buckets if bucket in found)


def measure_bucket(bucket: Bucket, timed: Timed, budget: float) -> tuple[dict[int, float], float]:
    """({rows: seconds}, seconds spent). Rounds take turns over the sizes, so that a slow moment hits all of them."""
    spent = timed(bucket, 1)  # the first run is not like the others
    best: dict[int, float] = {}
    sizes = list(SIZES)
    for _ in range(ROUNDS):
        for rows in sizes:
            expected = 2 * best[rows // 2] if rows // 2 in best else 0.0
            if best and spent + best.get(rows, expected) > budget:
                break
            try:
                spent += look(bucket, rows, timed, best)
            except EngineError as error:
                if rows == 1 or isinstance(error, DeviceLost):
                    raise
                best.pop(rows, None)  # what does not fit is no size for a batch
                break
            if hopeless(best, rows):
                break
        sizes = [rows for rows in best if not hopeless(best, rows)]
    return best, spent


def look(bucket: Bucket, rows: int, timed: Timed, best: dict[int, float]) -> float:
    """Run a size, again where it looks hopeless: it may have been the machine's moment. The seconds spent; `best` learns the fastest."""
    spent = 0.0
    for _ in range(LOOKS):
        seconds = timed(bucket, rows)
        spent += seconds
        best[rows] = min(seconds, best.get(rows, seconds))
        if not hopeless(best, rows):
            break
    return spent


def hopeless(seconds: Mapping[int, float], rows: int) -> bool:
    """Whether batches of `rows` are clearly slower per row than smaller ones."""
    best = max(n / taken for n, taken in seconds.items())
    return rows / seconds[rows] < HOPELESS * best and rows > min(seconds)


def outside_in(buckets: Sequence[Bucket]) -> list[Bucket]:
    """First, last, then what halves the widest gap: any beginning of it is spread over the whole."""
    order = [0, len(buckets) - 1][: len(buckets)]
    while len(order) < len(buckets):
        known = sorted(order)
        low, high = max(itertools.pairwise(known), key=lambda pair: pair[1] - pair[0])
        order.append((low + high) // 2)
    return [buckets[index] for index in order]


def caps_of(curve: Sequence[Sizes]) -> dict[Bucket, int]:
    """The knee of each bucket, by what a batch costs in all."""
    return {
        bucket: knee({rows: taken + BESIDE for rows, taken in seconds.items()})
        for bucket, seconds in as_curve(curve).items()
    }


def as_curve(sizes: Sequence[Sizes]) -> Curve:
    """The curve as the latency table takes it."""
    return {Bucket(one.length, one.shapes): one.seconds for one in sizes}


def key(file_sha256: str, runtime: Mapping[str, object]) -> str:
    """What a measurement is kept under: the model's file, the processor, and how it is run there."""
    facts = {"format": 1, "file": file_sha256, "processor": processor(), **runtime}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def processor() -> str:
    """The processor's name and how many of its cores this process may use."""
    model = platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"{model}, {cores.available()} cores"


def read(path: Path) -> tuple[Sizes, ...] | None:
    """A kept curve; None when there is none, or none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=tuple[Sizes, ...]) or None
    except (OSError, msgspec.MsgspecError):
        return None


def write(path: Path, curve: Sequence[Sizes]) -> None:
    """Keep a curve, whole or not at all."""
    with contextlib.suppress(
        OSError
    ):  # a state directory that cannot be written costs a measurement each time
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_bytes(msgspec.json.encode(curve))
        temporary.rename(path)


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """One engine at a time measures on a machine: two would each see half of it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        lock = (directory / "lock").open("w")
    except OSError:
        yield
        return
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
