"""Signals of time series: their length, level and movement per channel, and how rough they are. float32 [rows, time, channels] with lengths.

What stands behind a row's length never counts.
"""

import numpy as np

from models.tasks import SeriesTask

FREQUENCIES = (0.01, 0.018, 0.03, 0.055, 0.1, 0.17, 0.28, 0.45)
"""Cycles a sample at which power is read."""
LOW = 0.03
"""Frequencies up to here are the low band."""
TINY = 1e-12


class SeriesSignals:
    """Length, and of all channels: mean, deviation, roughness, spectrum, jumps, standstills."""

    def __init__(self, task: SeriesTask) -> None:
        self.input, self.lengths = task.input, task.lengths
        self.names: tuple[str, ...] = (
            "length",
            *(f"mean_{channel}" for channel in task.channels),
            *(f"deviation_{channel}" for channel in task.channels),
            "smoothness",
            "low_band",
            "spectral_entropy",
            "largest_jump",
            "constant",
            "missing",
        )
        self._waves = np.zeros((0, 2 * len(FREQUENCIES)), np.float32)

    def values(self, inputs: dict[str, np.ndarray], rows: int) -> np.ndarray:
        """float32 [rows, signals]."""
        series, lengths = inputs[self.input], inputs[self.lengths].reshape(rows)
        lengths = np.clip(lengths, 1, series.shape[1]).astype(np.float32)
        time, channels = series.shape[1:]
        # Rows of one length need no mask, which is most of what the others cost.
        real = np.arange(time) < lengths[:, None, None] if (lengths < time).any() else None
        x, missing = known(series, real)
        mean = x.sum(axis=2) / lengths[:, None]
        x = x - mean[:, :, None] if real is None else np.where(real, x - mean[:, :, None], 0)
        power = np.einsum("rct,rct->rc", x, x) / lengths[:, None]
        step = x[:, :, 1:] - x[:, :, :-1]
        if real is not None:
            step[~np.broadcast_to(real[:, :, 1:], step.shape)] = 0
        still = np.count_nonzero(step == 0, axis=(1, 2)) - (time - lengths) * channels
        changes = np.einsum("rct,rct->rc", step, step) / lengths[:, None]
        jump = np.maximum(step.max(axis=2, initial=0), -step.min(axis=2, initial=0))
        columns = [
            lengths[:, None],
            mean,
            np.sqrt(power),
            np.stack(
                [
                    (1 - changes / (2 * power + TINY)).mean(axis=1),
                    *self._spectrum(x, power),
                    (jump / np.sqrt(power + TINY)).max(axis=1),
                    still / np.maximum((lengths - 1) * channels, 1),
                    missing / (lengths * channels),
                ],
                axis=1,
            ),
        ]
        return np.concatenate(columns, axis=1).astype(np.float32)

    def _spectrum(self, x: np.ndarray, power: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The share of power in the low band, and how evenly power is spread over the frequencies: 0 one, 1 all alike."""
        if len(self._waves) < x.shape[2]:
            self._waves = waves(x.shape[2])
        parts = np.square(x @ self._waves[: x.shape[2]])
        found = (parts.reshape(*power.shape, 2, -1).sum(axis=2) / (power + TINY)[:, :, None]).sum(1)
        share = found / (found.sum(axis=1, keepdims=True) + TINY)
        low = share[:, np.array(FREQUENCIES) <= LOW].sum(axis=1)
        entropy = -(share * np.log(share + TINY)).sum(axis=1) / np.log(len(FREQUENCIES))
        return low, entropy


def known(series: np.ndarray, real: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """(float32 [rows, channels, time] with 0 for what is no number or lies behind the end, how many numbers are not one [rows])."""
    x = np.ascontiguousarray(series.transpose(0, 2, 1), dtype=np.float32)
    finite = np.isfinite(x)
    if real is not None:
        finite |= ~real
    missing = np.zeros(len(x))
    if not finite.all():
        missing = (~finite).sum(axis=(1, 2))
        x = np.where(finite, x, 0)
    return x if real is None else np.where(real, x, 0), missing


def waves(time: int) -> np.ndarray:
    """[time, 2 x frequencies]: cosines, then sines."""
    angles = 2 * np.pi * np.arange(time)[:, None] * np.array(FREQUENCIES)
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
