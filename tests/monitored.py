"""Control's end of the monitor over a real ledger, and what front ends would tell it."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import profiled

from models import bundle, profile
from service.ledger.ledger import Ledger
from service.ledger.writer import Writer
from service.monitoring import payloads
from service.monitoring.monitor import Loaded, Monitor
from service.monitoring.observed import Inputs, Observed, Rows, packed
from service.monitoring.report import DriftTold
from service.monitoring.watch import Watch
from service.settings import Settings

NOW = 1_800_000_000.0
MODEL = ("toy-image", 1)


class Monitored(NamedTuple):
    """A monitor, its ledger, and what runs."""

    monitor: Monitor
    ledger: Ledger
    running: list[Loaded]


@asynccontextmanager
async def monitoring(
    state: Path, *directories: Path, clock: Callable[[], float] = lambda: NOW, **settings: Any
) -> AsyncIterator[Monitored]:
    """A monitor of the versions in `directories` while they are listed in `running`, over a ledger in `state`; all is closed in order."""
    running = [Loaded(*MODEL, directory) for directory in directories]
    settings = {"state": state, "drift_window": 500} | settings
    ledger = Ledger.of(Settings(**settings))
    writer = Writer(ledger)
    one = Monitor(Settings(**settings), ledger, writer, lambda _: 1, lambda: running, clock)
    try:
        await one.follow()
        yield Monitored(one, ledger, running)
    finally:
        one.close()
        await writer.close()
        ledger.close()


def messages(
    directory: Path, rows: int, *, shift: float = 0.0, seed: int = 1, at: float = NOW - 9000
) -> Iterator[bytes]:
    """What a front end would tell of so many pictures, one a second, in messages of 20."""
    known = Watch(bundle.read(directory), directory, profile.read(directory))
    images = profiled.pictures(np.random.default_rng(seed), rows, shift)
    for begin in range(0, rows, 20):
        part = images[begin : begin + 20]
        count = len(part)
        times = at + begin + np.arange(count)
        ids = [
            f"{int(1000 * when):012x}"[:8] + f"-{begin:04x}-7000-8000-{seed:06x}{i:06x}"
            for i, when in enumerate(times)
        ]
        found = known.look({"image": part}, profiled.answers(part))
        kept = [(0, payloads.encode({"image": part[0]}), 0.5)]
        told = Rows(
            known.model,
            known.version,
            known.profile,
            "v2",
            ids,
            packed(np.zeros(count), "<u2"),
            packed(times, "<f8"),
            packed(np.full(count, 0.5), "<f4"),
            *found,
            kept,
        )
        inputs = [Inputs("toy-image", count, {"undecodable": 1}, count, 0)]
        yield msgspec.msgpack.encode(Observed("1", 0.5, [told], inputs))


async def feed(one: Monitor, *args: Any, **values: Any) -> DriftTold:
    for message in messages(*args, **values):
        await one.take(message)
    return one.report("toy-image", None)
