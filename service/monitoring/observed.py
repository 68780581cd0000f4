"""What a front end tells control about the requests that it observed. It must not know how it was worked out, or what becomes of it.

Figures of many rows travel as the bytes of one array, little endian.
"""

from collections.abc import Sequence

import msgspec
import numpy as np


class Rows(msgspec.Struct, array_like=True, gc=False):
    """Rows of one version that came over one API.

    `profile`: which profile's bins these are, "" without one. Of row i: `ids[i]` and `places` (uint16) are its prediction and its place in it,
    `at` (float64) when it was answered, `shares` (float32) with which probability it was observed. `labels` (int32) and `confidences` (float32) are what
    the model said, empty where it names no class; `bins` is uint8 [rows, signals]; `estimates` is float32 [rows, figures of the accuracy].
    """

    model: str
    version: int
    profile: str
    api: str
    ids: list[str]
    places: bytes
    at: bytes
    shares: bytes
    labels: bytes = b""
    confidences: bytes = b""
    bins: bytes = b""
    estimates: bytes = b""
    payloads: list[tuple[int, bytes, float]] = []
    """(row here, what the model was given, with which probability it was kept)."""


class Inputs(msgspec.Struct, array_like=True, gc=False):
    """Of one model since the last time: requests, those that were refused for what was in them, by reason, and rows observed and dropped."""

    model: str
    requests: int
    invalid: dict[str, int]
    sampled: int
    dropped: int


class Observed(msgspec.Struct, array_like=True):
    """One message. `share`: that of the requests which this front end observes now."""

    source: str
    share: float
    rows: list[Rows]
    inputs: list[Inputs]


def packed(values: Sequence[float] | np.ndarray, dtype: str) -> bytes:
    """Numbers as they travel."""
    return np.asarray(values, dtype).tobytes()


def column(data: bytes, dtype: str, width: int | None = None) -> np.ndarray:
    """What `packed` made; with `width`, as rows of so many."""
    flat = np.frombuffer(data, dtype)
    return flat if width is None else flat.reshape(-1, width)
