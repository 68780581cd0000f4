"""The inputs that are kept: a share of each model's rows, whatever others are asked."""

import time
from pathlib import Path

import numpy as np
import profiled
import pytest

from models import bundle, profile
from service.monitoring.drain import Drain, Taken
from service.monitoring.tallies import ObserverTally
from service.monitoring.watch import Watch


def watched(root: Path, name: str) -> Watch:
    directory = profiled.image(root, name=name)
    return Watch(bundle.read(directory), directory, profile.read(directory))


def taken(watch: Watch, rows: int) -> Taken:
    inputs = {"image": profiled.pictures(np.random.default_rng(1), rows)}
    outputs = {
        name: np.full((rows, 2), 0.5, np.float32) for name in watch.outputs(("probabilities",))
    }
    return Taken(watch, 1.0, "v2", "id", range(rows), time.time(), inputs, outputs)


def test_a_busy_model_takes_no_kept_rows_from_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    clock = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    busy, quiet = (watched(tmp_path, name) for name in ("toy-busy", "toy-quiet"))
    drain, tally = Drain(1.0, 10.0, clock[0]), ObserverTally()
    kept = {"toy-busy": 0, "toy-quiet": 0}
    seconds, last = 40, 20
    for second in range(seconds):
        clock[0] += 1.0
        for rows in drain.look([taken(busy, 160), taken(quiet, 2)], tally):
            if second >= last:
                kept[rows.model] += len(rows.payloads)
    assert kept["toy-quiet"] == 2 * (seconds - last)
    assert kept["toy-busy"] < 20 * (seconds - last)
