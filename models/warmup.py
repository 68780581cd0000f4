"""The requests that a Triton configuration has run before its model is ready. It must not know how they are run.

<model>/warmup/            files that hold an input's values
"""

import math
from pathlib import Path

import numpy as np

from models.errors import BundleError
from models.modelconfig import DTYPES, WarmUp, WarmUpTensor

DIRECTORY = "warmup"
MOST_ELEMENTS = 1 << 28


def rows(sample: WarmUp, counts_rows: bool, model: Path) -> dict[str, np.ndarray]:
    """The inputs of one sample; `model` is the model's directory. BundleError names what cannot be had."""
    found = {}
    for one in sample.inputs:
        array = row(one.value, f"warm-up '{sample.name}', input '{one.key}'", model / DIRECTORY)
        if counts_rows:
            array = np.repeat(array[None], max(1, sample.batch_size), axis=0)
        found[one.key] = array
    return found


def row(told: WarmUpTensor, name: str, directory: Path) -> np.ndarray:
    """One row of a warm-up input. Random numbers (floats below 1, integers below 10) are the same each time."""
    if (dtype := DTYPES.get(told.data_type)) is None:
        raise BundleError(f"{name}: {told.data_type} is not supported")
    if (elements := math.prod(told.dims)) > MOST_ELEMENTS:
        raise BundleError(f"{name} has {elements:,} elements, the limit is {MOST_ELEMENTS:,}")
    if told.input_data_file:
        return from_file(directory / told.input_data_file, dtype, elements).reshape(told.dims)
    if dtype == "object":
        return np.full(told.dims, b"", dtype)
    if not told.random_data:
        return np.zeros(told.dims, dtype)
    random = np.random.default_rng(0)
    if np.dtype(dtype).kind == "f":
        return random.random(told.dims).astype(dtype)
    return random.integers(0, 2 if dtype == "bool" else 10, told.dims).astype(dtype)


def from_file(path: Path, dtype: str, elements: int) -> np.ndarray:
    """Raw values, row-major and little-endian; strings as u32 length + bytes."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: {error.strerror or error}") from error
    if dtype == "object":
        return strings(path, raw, elements)
    needed = elements * np.dtype(dtype).itemsize
    if len(raw) != needed:
        raise BundleError(
            f"{path} has {len(raw):,} bytes, {elements:,} elements of {dtype} need {needed:,}"
        )
    return np.frombuffer(raw, dtype)


def strings(path: Path, raw: bytes, elements: int) -> np.ndarray:
    """`elements` strings, each behind its length."""
    array, at = np.full(elements, b"", dtype=object), 0
    for index in range(elements):
        size = int.from_bytes(raw[at : at + 4], "little")
        if at + 4 + size > len(raw):
            raise BundleError(f"{path} ends within string {index + 1} of {elements}")
        array[index] = raw[at + 4 : at + 4 + size]
        at += 4 + size
    if at != len(raw):
        raise BundleError(f"{path} has {len(raw) - at:,} bytes after its {elements} strings")
    return array
