"""Toys with a profile, and traffic for them: of the reference's kind, or not. They take a second to make."""

import functools
import tempfile
from pathlib import Path

import msgspec
import numpy as np
import toys

from models import bundle, profile

ROWS = 1500
"""Admits windows of 100, 200 and 500."""
ABOUT = profile.About(
    "pictures of one brightness each", "0" * 64, "2026-01-01T00:00:00Z", 1, 10_000
)


def pictures(rng: np.random.Generator, rows: int, shift: float = 0.0) -> np.ndarray:
    """float32 [rows, 1, 4, 4]; with a shift, brighter ones."""
    level = rng.uniform(0.2, 0.8, (rows, 1, 1, 1)) + shift
    noise = rng.normal(0, 0.05, (rows, 1, 4, 4))
    return np.clip(level + noise, 0, 1).astype(np.float32)


def answers(images: np.ndarray) -> dict[str, np.ndarray]:
    """What toy-image answers, as `toys.image` says."""
    mean = images.mean(axis=(1, 2, 3))
    logits = np.stack([10 * mean, 10 - 10 * mean], axis=1).astype(np.float32)
    return {"logits": logits, "probabilities": toys.softmax(logits)}


@functools.cache
def reference(model: str = "toy-image", version: int = 1, seed: int = 0) -> profile.Profile:
    """The profile of toy-image, from rows of its own: others with another seed."""
    images = pictures(np.random.default_rng(seed), ROWS)
    outputs = answers(images)
    labels = outputs["probabilities"].argmax(axis=1)
    directory = Path(__file__).parent  # no file of the bundle is needed for pictures
    batch = profile.Batch({"image": images}, outputs, labels)
    return profile.build(_manifest(model, version), directory, [batch], ABOUT)


def image(root: Path, version: int = 1, name: str = "toy-image") -> Path:
    """toy-image with its profile in the bundle."""
    directory = toys.image(root, name, version)
    known = msgspec.structs.replace(reference(), model=name, version=version)
    profile.write(directory, known)
    bundle.write(directory, bundle.read(directory))
    return directory


def bins(images: np.ndarray, known: profile.Profile | None = None) -> np.ndarray:
    """Where the signals of `images` and of their answers fall: uint8 [rows, signals]."""
    known = known or reference()
    panel = profile.panel(_manifest("toy-image", 1), Path(), known)
    return known.bins(panel.values({"image": images}, answers(images)))


@functools.cache
def _manifest(model: str, version: int) -> bundle.Manifest:
    with tempfile.TemporaryDirectory() as directory:
        return bundle.read(toys.image(Path(directory), model, version))
