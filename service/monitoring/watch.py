"""What is looked at in the requests of one version, and how rows of several requests are looked at together. It must not know when, or by whom.

manifest + profile -> Watch: outputs to ask for, signals, bins, estimates
parts of several requests -> joined -> [rows, ...]
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from models import profile
from models.bundle import Manifest
from models.profile.answers import probabilities
from service.monitoring.observed import packed

Arrays = dict[str, np.ndarray]


class Found(NamedTuple):
    """What rows came to, as it travels; empty where the version does not tell."""

    labels: bytes = b""
    confidences: bytes = b""
    bins: bytes = b""
    estimates: bytes = b""


class Watch:
    """One version. `reference`: what its traffic is compared with; without one, answers alone are recorded."""

    def __init__(
        self, manifest: Manifest, directory: Path, reference: profile.Profile | None
    ) -> None:
        self.model, self.version = manifest.name, manifest.version
        self.profile = "" if reference is None else reference.sha256
        self._manifest = manifest
        self._reference = reference
        self._panel = None if reference is None else profile.panel(manifest, directory, reference)
        self._estimate = None if reference is None else reference.estimate
        self._extra = tuple(outputs_to_ask(manifest, self._panel))
        self._padded = padded(manifest)

    def outputs(self, wanted: Sequence[str]) -> list[str]:
        """The outputs to ask of the engine: those that the caller wants, then those that are looked at."""
        return [*wanted, *(name for name in self._extra if name not in wanted)]

    def shape(self, inputs: Arrays) -> Any:
        """What rows of two requests must share to be looked at together."""
        return tuple(
            (
                name,
                array.dtype.str,
                tuple(
                    0 if axis == self._padded.get(name, (None, 0))[0] else size
                    for axis, size in enumerate(array.shape[1:], 1)
                ),
            )
            for name, array in inputs.items()
        )

    def joined(self, parts: Sequence[Arrays]) -> Arrays:
        """The rows of several requests as one batch, padded as the model takes them."""
        return {name: self._join(name, [part[name] for part in parts]) for name in parts[0]}

    def look(self, inputs: Arrays, outputs: Arrays) -> Found:
        """What is to be told of these rows."""
        bins = estimates = labels = confidences = b""
        if self._panel is not None and self._reference is not None:
            bins = self._reference.bins(self._panel.values(inputs, outputs)).tobytes()
        shares = probabilities(self._manifest, outputs)
        if shares is not None and shares.ndim == 2:
            labels = packed(shares.argmax(axis=1), "<i4")
            confidences = packed(shares.max(axis=1), "<f4")
            if self._estimate is not None:
                estimates = packed(self._estimate.rows(shares), "<f4")
        return Found(labels, confidences, bins, estimates)

    def _join(self, name: str, arrays: list[np.ndarray]) -> np.ndarray:
        axis, value = self._padded.get(name, (None, 0.0))
        if axis is None or len({array.shape[axis] for array in arrays}) == 1:
            return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
        longest = max(array.shape[axis] for array in arrays)
        shape = list(arrays[0].shape)
        shape[0], shape[axis] = sum(map(len, arrays)), longest
        whole = np.full(shape, value, arrays[0].dtype)
        at = 0
        for array in arrays:
            rows = [slice(None)] * array.ndim
            rows[0], rows[axis] = slice(at, at + len(array)), slice(array.shape[axis])
            whole[tuple(rows)] = array
            at += len(array)
        return whole


def outputs_to_ask(manifest: Manifest, panel: profile.Panel | None) -> list[str]:
    """The outputs that signals and records come from."""
    answers = [manifest.output(role) for role in ("probabilities", "logits")]
    known = [tensor.name for tensor in answers if tensor is not None]
    if panel is None:
        return known[:1]
    if not known and "output" in panel.kinds:
        return [tensor.name for tensor in manifest.outputs]
    embedding = manifest.output("embedding")
    if embedding is not None and "embedding" in panel.kinds:
        known.append(embedding.name)
    return known


def padded(manifest: Manifest) -> dict[str, tuple[int, float]]:
    """Of each input that rows of different lengths are padded in: the axis, and with what."""
    if (padding := manifest.padding) is None:
        return {}
    return {
        tensor.name: (tensor.shape.index(padding.axis), padding.values[tensor.name])
        for tensor in manifest.inputs
        if tensor.name in padding.values and padding.axis in tensor.shape
    }


def watch(manifest: Manifest, directory: Path, reference: profile.Profile | None) -> Watch | None:
    """How to observe a version; None where its requests are not rows."""
    return Watch(manifest, directory, reference) if manifest.counts_rows else None
