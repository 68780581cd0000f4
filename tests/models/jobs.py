"""A job's directory for the recipe in shapes.py, as a service writes it: its parent is trained once, in seconds."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import shapes

from models import bundle, job, traffic

RECIPE = Path(shapes.__file__)
ROOT = Path(bundle.__file__).parents[1]
SHARE = 0.75


def program(*arguments: object, launcher: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """`python -m models.train` under way."""
    start = launcher or (sys.executable, "-m")
    return subprocess.Popen(
        [*start, "models.train", *map(str, arguments)],
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def environment() -> dict[str, str]:
    """One thread each, however many cores there are."""
    return os.environ | {"OMP_NUM_THREADS": "1"}


def done(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    """What it said when it had ended."""
    out, err = process.communicate(timeout=300)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def dark(count: int, seed: int) -> traffic.Traffic:
    """Pictures by a camera that sees a sixth of the light, and more noise."""
    rows = shapes.drawn(count, seed)
    noise = np.random.default_rng(seed).normal(0, 0.02, rows.inputs["image"].shape)
    pictures = (rows.inputs["image"] / 6 + noise).clip(0, 1).astype(np.float32)
    return traffic.Traffic([{"image": one} for one in pictures], rows.labels)


def put(directory: Path, name: str, rows: traffic.Traffic) -> bundle.Rows:
    """Rows beside the request."""
    data = traffic.encoded(rows)
    (directory / name).write_bytes(data)
    day = "2026-01-0{}T00:00:00+00:00"
    return bundle.Rows(
        hashlib.sha256(data).hexdigest(), len(rows.rows), day.format(1), day.format(2)
    )


def asked(directory: Path, champion: Path, **fields: object) -> job.Request:
    """Write a request for version 2 of the shapes, with 120 dark pictures; `fields` of the request may be others."""
    directory.mkdir(parents=True, exist_ok=True)
    given = {
        "id": "01J",
        "model": "shapes-cnn",
        "version": 2,
        "recipe": str(RECIPE),
        "parent": 1,
        "weights": str(champion),
        "traffic": put(directory, job.TRAFFIC, dark(120, 11)),
        "base_share": SHARE,
        "trigger": "drift",
        "reason": "accuracy fell",
        "evidence": {"accuracy": 0.6},
    }
    request = job.Request(**given | fields)
    job.write(directory, job.REQUEST, request)
    return request
