"""A manifest with everything, rows drawn for it, and the profile of such rows."""

from pathlib import Path

import numpy as np

from models import bundle, tasks
from models.profile import About, Batch, Profile, build

ABOUT = About("drawn", "0" * 64, "2026-01-01T00:00:00+00:00", resamples=1000)
CLASSES, WIDTH = 3, 12


def manifest(task: tasks.Task | None = None, **fields: object) -> bundle.Manifest:
    """A classifier of 6 x 6 pictures, unless another task is told."""
    told: dict = {
        "name": "made",
        "version": 1,
        "description": "",
        "task": task or tasks.ImageTask("image", 6, 6),
        "labels": tuple("abc"),
        "inputs": (bundle.Tensor("image", "float32", ("batch", 1, 6, 6)),),
        "outputs": (
            bundle.Tensor("logits", "float32", ("batch", CLASSES), "logits"),
            bundle.Tensor("probabilities", "float32", ("batch", CLASSES), "probabilities"),
            bundle.Tensor("embedding", "float32", ("batch", WIDTH), "embedding"),
        ),
        "variants": (),
        "metrics": {},
        "training": None,
        "files": {},
    }
    return bundle.Manifest(**(told | fields))


def batch(rows: int, seed: int = 0) -> Batch:
    """Independent rows, whose labels are drawn from the probabilities: the model is calibrated."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(rows, CLASSES)).astype(np.float32)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = (rng.random((rows, 1)) > shares.cumsum(axis=1)[:, :-1]).sum(axis=1)
    return Batch(
        {"image": rng.random((rows, 1, 6, 6), dtype=np.float32)},
        {
            "logits": logits,
            "probabilities": shares,
            "embedding": rng.normal(size=(rows, WIDTH)).astype(np.float32),
        },
        labels,
    )


def profile(rows: int = 900, seed: int = 0, about: About = ABOUT) -> Profile:
    return build(manifest(), Path(), [batch(rows, seed)], about)
