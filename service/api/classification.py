"""The protocol's classification extension: of each row the K largest values, as text. Pure; it must not know requests.

[[0.1, 0.7, 0.2]], K = 2, labels a, b, c -> [["0.700000:1:b", "0.200000:2:c"]]
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from models.bundle import Manifest
from models.errors import InputError

Outputs = dict[str, np.ndarray]


def classified(outputs: Outputs, counts: Mapping[str, int], manifest: Manifest) -> Outputs:
    """`outputs` with those in `counts` as classes: BYTES [rows, K], or [K] where the model knows no rows.

    A K beyond the number of values means all of them. InputError where an output holds no numbers.
    """
    return {
        name: top(name, array, counts[name], manifest) if name in counts else array
        for name, array in outputs.items()
    }


def top(name: str, array: np.ndarray, count: int, manifest: Manifest) -> np.ndarray:
    """The `count` largest of each row; of equal ones the first comes first."""
    if array.dtype == object:
        raise InputError(f"output '{name}' holds BYTES, classification takes numbers")
    rows = len(array) if manifest.counts_rows and array.ndim else 1
    values = array.reshape(rows, math.prod(array.shape) // rows if rows else 0)
    # ~x falls as x rises and, unlike -x, never overflows.
    falling = -values if values.dtype.kind == "f" else ~values
    order = np.argsort(falling, axis=1, kind="stable")[:, :count]
    labels = labels_of(name, manifest, values.shape[1])
    found = np.empty(order.shape, object)
    for row, indices in enumerate(order.tolist()):
        found[row] = [element(values[row, index], index, labels) for index in indices]
    return found if manifest.counts_rows else found[0]


def element(value: np.generic, index: int, labels: Sequence[str]) -> bytes:
    """One class as text. Six digits, as Triton's clients know them."""
    number = f"{value:.6f}" if value.dtype.kind == "f" else str(int(value))
    parts = (number, str(index), *labels[index : index + 1])
    return ":".join(parts).encode()


def labels_of(name: str, manifest: Manifest, classes: int) -> Sequence[str]:
    """The classes' names: those of the output, or else the model's, where the output has one value for each of them."""
    tensor = next(one for one in manifest.outputs if one.name == name)
    named = tensor.role in ("logits", "probabilities") and len(manifest.labels) == classes
    return tensor.labels or (manifest.labels if named else ())
