"""What chance does: windows drawn from the reference itself, compared with the rest of it (Westfall & Young's max-T).

Whole rows are drawn, so signals that move together stay together, and the largest of all standardised statistics has one
threshold, however many signals there are. A live window is compared with all M rows, a drawn one with the other M - n: the statistics
are scaled by both sizes, which makes the two alike for n up to a third of M.
"""

from collections.abc import Callable

import numpy as np

from models.errors import InputError
from models.profile import statistics
from models.profile.profile import Layout, Null

SIZES = (100, 200, 500, 1000, 2000, 5000)
"""The window sizes that people can choose from."""
SHARE = 3
"""A window holds at most this part (one in ...) of the reference's rows: beyond, the reference is too small to tell chance."""
LEVELS = (
    *(0.99, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05, 0.03, 0.02, 0.01),
    *(0.007, 0.005, 0.003, 0.002, 0.001, 0.0007, 0.0005, 0.0003),
)
"""The shares of windows at which the largest statistic is written down ..."""
FEWEST = 3
"""... as long as so many windows lie beyond."""
MOST_FOR_ONE = 2.5
"""A single row that is unlike everything in the reference counts no more than so many deviations."""
CHUNK = 250

Progress = Callable[[int, int], None]
"""Told (done, of) while windows are drawn."""


def admitted(rows: int) -> tuple[int, ...]:
    """The window sizes that a reference of `rows` rows is large enough for. InputError where there is none."""
    found = tuple(n for n in SIZES if SHARE * n <= rows)
    if not found:
        raise InputError(
            f"a reference of {rows} rows is too small: windows of {SIZES[0]} need at least {SHARE * SIZES[0]}"
        )
    return found


def nulls(
    layout: Layout, bins: np.ndarray, resamples: int, seed: int, progress: Progress | None = None
) -> tuple[Null, ...]:
    """The null of every admitted size, from the reference's bins uint8 [M, signals]."""
    rows, sizes = len(bins), admitted(len(bins))
    total = layout.counts(bins)
    found: dict[int, list[np.ndarray]] = {n: [] for n in sizes}
    for done in range(0, resamples, CHUNK):
        count = min(CHUNK, resamples - done)
        for n, windows in drawn(layout, bins, sizes, count, [seed, done]).items():
            p = statistics.shares(layout.rectangle(windows))
            q = statistics.shares(layout.rectangle(total - windows))
            found[n].append(statistics.both(p, q, n, rows - n))
        if progress:
            progress(done + count, resamples)
    return tuple(null(layout, n, rows, found[n]) for n in sizes)


def drawn(
    layout: Layout, bins: np.ndarray, sizes: tuple[int, ...], count: int, seed: list[int]
) -> dict[int, np.ndarray]:
    """Counts [count, total] of windows of each size. A larger window holds the smaller one: each row is counted once."""
    rng = np.random.default_rng(seed)
    flat = bins + layout.offsets
    windows = {n: np.empty((count, layout.total), np.int64) for n in sizes}
    for i in range(count):
        chosen = rng.permutation(len(flat))[: sizes[-1]]
        counted, start = np.zeros(layout.total, np.int64), 0
        for n in sizes:
            counted = counted + np.bincount(flat[chosen[start:n]].ravel(), minlength=layout.total)
            windows[n][i], start = counted, n
    return windows


def null(layout: Layout, n: int, rows: int, parts: list[np.ndarray]) -> Null:
    """Mean and deviation of both statistics [2, resamples, signals], and how large the largest of all gets."""
    found = np.concatenate(parts, axis=1)
    mean = found.mean(axis=1)
    least = (statistics.one_row(n, rows)[:, None] - mean) / MOST_FOR_ONE
    spread = np.maximum(found.std(axis=1), least)
    ks, triangular = (rounded(*one) for one in zip(mean, spread, strict=True))
    largest = evidence(layout, found, np.array([ks, triangular])).max(axis=1)
    levels = [p for p in LEVELS if p * len(largest) >= FEWEST]
    values = np.quantile(largest, 1 - np.array(levels))
    joint = tuple((p, float(f"{v:.5g}")) for p, v in zip(levels, values, strict=True))
    return Null(n, ks, triangular, joint)


def evidence(layout: Layout, found: np.ndarray, moments: np.ndarray) -> np.ndarray:
    """[..., signals]: by how many deviations each signal lies further from the reference than chance does on average.

    `found` [2, ..., signals] are the statistics, `moments` [2, signals, 2] their mean and deviation by chance.
    """
    shape = (2,) + (1,) * (found.ndim - 2) + (-1,)
    level, form = (found - moments[..., 0].reshape(shape)) / moments[..., 1].reshape(shape)
    strongest: np.ndarray = np.where(layout.ordered, np.maximum(level, form), form)
    return strongest


def rounded(mean: np.ndarray, spread: np.ndarray) -> tuple[tuple[float, float], ...]:
    """Pairs as the file will hold them, so that the thresholds fit what is read back."""
    return tuple((float(f"{a:.6g}"), float(f"{b:.6g}")) for a, b in zip(mean, spread, strict=True))
