"""Shoulder exercises seen by a smartwatch: 140 recordings, 6 channels at 50 Hz, 7 exercises, 10 people (Burns et al. 2018; BSD-3 in seglearn).

People 1-7 are split in time: each recording's first 70 % train, its last 30 % are held out. People 8-10 are never trained on, unless others
are named in their place.
"""

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from models.datasets.sources import File, cache, from_package
from models.errors import DataError

LABELS = (
    "pendulum",
    "abduction",
    "forward elevation",
    "internal rotation",
    "external rotation",
    "trapezius extension",
    "upright row",
)
CHANNELS = ("ax", "ay", "az", "wx", "wy", "wz")
RATE_HZ = 50.0
SHORTEST, LONGEST = 100, 300
"""A window has 2 to 6 seconds."""
UNSEEN = (8, 9, 10)
TRAIN_SHARE = 0.7
FILE = File(
    "watch_dataset.npy",
    "eb122f23cdf06ef6bd6c6c5312958ec5cf9d038e2e6d457b8081662c75a42537",
    "seglearn/data/watch_dataset.npy",
)


class Recording(NamedTuple):
    """samples float32 [time, 6], the exercise's index, the person's number."""

    samples: np.ndarray
    label: int
    person: int


class Windows(NamedTuple):
    """Cut-outs of recordings, float32 [time, 6] each, with labels int64 [n]."""

    series: list[np.ndarray]
    labels: np.ndarray


def recordings() -> list[Recording]:
    """All 140. The package keeps them as a pickle; it is opened once, after its hash was checked, and kept as npz."""
    path = cache() / f"watch-{FILE.sha256[:12]}.npz"
    if not path.is_file():
        raw = np.load(from_package("seglearn==1.2.5", FILE), allow_pickle=True).item()
        lengths = np.array([len(samples) for samples in raw["X"]])
        partial = path.with_suffix(".partial.npz")
        np.savez(
            partial,
            samples=np.concatenate(raw["X"]).astype(np.float32),
            lengths=lengths,
            labels=raw["y"],
            people=raw["subject"],
        )
        partial.rename(path)
    with np.load(path) as archive:
        pieces = np.split(archive["samples"], np.cumsum(archive["lengths"])[:-1])
        return [
            Recording(*one)
            for one in zip(
                pieces, archive["labels"].tolist(), archive["people"].tolist(), strict=True
            )
        ]


def parts(
    unseen: Collection[int] = UNSEEN,
) -> tuple[list[Recording], list[Recording], list[Recording]]:
    """(training, held out in time, held-out people). Recordings are cut before windows are, so that no window straddles."""
    everybody = {recording.person for recording in recordings()}
    if not unseen or not set(unseen) < everybody:
        raise DataError(
            f"unseen people are some of 1 to {max(everybody)}, and not all of them; told were {sorted(unseen)}"
        )
    training, later, others = [], [], []
    for recording in recordings():
        if recording.person in unseen:
            others.append(recording)
            continue
        cut = int(TRAIN_SHARE * len(recording.samples))
        training.append(recording._replace(samples=recording.samples[:cut]))
        later.append(recording._replace(samples=recording.samples[cut:]))
    return training, later, others


def windows(parts: list[Recording], length: int | None = None, seed: int = 0) -> Windows:
    """Windows at half overlap: `length` samples each, or lengths drawn uniformly from 2-6 s where it is None."""
    rng = np.random.default_rng(seed)
    series, labels = [], []
    for part in parts:
        start = 0
        while True:
            size = length or int(rng.integers(SHORTEST, LONGEST + 1))
            if start + size > len(part.samples):
                break
            series.append(part.samples[start : start + size])
            labels.append(part.label)
            start += size // 2
    return Windows(series, np.array(labels, dtype=np.int64))
