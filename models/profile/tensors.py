"""Signals of tensors of which nothing is known: their level, their range, what is zero or missing in them."""

import numpy as np

from models.bundle import Tensor

NUMBERS = ("mean", "deviation", "smallest", "largest", "zeros", "missing")


class TensorSignals:
    """The same few figures of every tensor, named after it."""

    def __init__(self, tensors: tuple[Tensor, ...]) -> None:
        self._tensors = tensors
        self.names: tuple[str, ...] = tuple(
            f"{tensor.name}.{figure}" for tensor in tensors for figure in figures(tensor)
        )

    def values(self, arrays: dict[str, np.ndarray], rows: int) -> np.ndarray:
        """float32 [rows, signals]; a tensor that is not there gives NaN."""
        columns = [
            described(arrays[tensor.name], tensor)
            if tensor.name in arrays
            else np.full((rows, len(figures(tensor))), np.nan)
            for tensor in self._tensors
        ]
        return np.concatenate(columns, axis=1).astype(np.float32)


def figures(tensor: Tensor) -> tuple[str, ...]:
    """What is told of a tensor: strings have a length only."""
    return ("bytes",) if tensor.dtype == "object" else NUMBERS


def described(array: np.ndarray, tensor: Tensor) -> np.ndarray:
    """[rows, figures] of one tensor [rows, ...]."""
    flat = array.reshape(len(array), -1)
    if tensor.dtype == "object":
        return np.array([[sum(map(len, row))] for row in flat], dtype=np.float32)
    flat = flat.astype(np.float32)
    known = np.isfinite(flat)
    there = np.where(known, flat, 0)
    count = np.maximum(known.sum(axis=1), 1)
    mean = there.sum(axis=1) / count
    spread = np.where(known, flat - mean[:, None], 0)
    return np.stack(
        [
            mean,
            np.sqrt(np.square(spread).sum(axis=1) / count),
            np.where(known, flat, np.inf).min(axis=1, initial=np.inf),
            np.where(known, flat, -np.inf).max(axis=1, initial=-np.inf),
            (flat == 0).mean(axis=1),
            1 - known.mean(axis=1),
        ],
        axis=1,
    )
