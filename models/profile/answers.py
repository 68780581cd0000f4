"""Signals of what a model answers: how sure it is, which class it names, and where its embedding lies."""

import msgspec
import numpy as np

from models.bundle import Manifest

TINY = 1e-12


class Projection(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The directions in which the reference's embeddings vary most: `components` [directions][width], around `centre` [width]."""

    centre: tuple[float, ...]
    components: tuple[tuple[float, ...], ...]


class AnswerSignals:
    """Confidence, margin, entropy, energy and class of each answer. Two classes have one figure for the first three."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._logits = manifest.output("logits")
        self.names: tuple[str, ...] = ()
        if (count := classes(manifest)) > 1:
            self.names = ("confidence", *(("margin", "entropy") if count > 2 else ()), "class")
            self.names += ("energy",) if self._logits else ()

    def values(self, outputs: dict[str, np.ndarray], rows: int) -> np.ndarray:
        """float32 [rows, signals]; NaN where an output is not there."""
        found = {name: np.full(rows, np.nan) for name in self.names}
        shares = probabilities(self._manifest, outputs)
        if shares is not None:
            top = np.partition(shares, -2, axis=1)[:, -2:]
            found |= {"confidence": top[:, 1], "class": shares.argmax(axis=1)}
            if "margin" in found:
                found |= {"margin": top[:, 1] - top[:, 0], "entropy": entropy(shares)}
        if "energy" in found and self._logits and self._logits.name in outputs:
            found["energy"] = energy(outputs[self._logits.name])
        return np.stack(list(found.values()), axis=1).astype(np.float32)


class EmbeddingSignals:
    """The embedding along the reference's main directions."""

    def __init__(self, manifest: Manifest, projection: Projection | None) -> None:
        self._embedding = manifest.output("embedding")
        self.names: tuple[str, ...] = ()
        if self._embedding and projection:
            self._components = np.array(projection.components, np.float32).T
            self._centre = np.array(projection.centre, np.float32) @ self._components
            self.names = tuple(f"embedding_{i + 1}" for i in range(len(projection.components)))

    def values(self, outputs: dict[str, np.ndarray], rows: int) -> np.ndarray:
        """float32 [rows, directions]; NaN where the embedding is not there."""
        if self._embedding is None or self._embedding.name not in outputs:
            return np.full((rows, len(self.names)), np.nan, np.float32)
        flat = outputs[self._embedding.name].reshape(rows, -1).astype(np.float32)
        projected: np.ndarray = flat @ self._components - self._centre
        return projected


def classes(manifest: Manifest) -> int:
    """How many classes each row is given a share of; 0 where rows are not classified."""
    for tensor in (manifest.output("probabilities"), manifest.output("logits")):
        if tensor is not None and len(tensor.shape) == 2 and isinstance(tensor.shape[1], int):
            return tensor.shape[1]
    return 0


def probabilities(manifest: Manifest, outputs: dict[str, np.ndarray]) -> np.ndarray | None:
    """[rows, classes], from whichever output has them; None where neither is there."""
    given, logits = manifest.output("probabilities"), manifest.output("logits")
    if given and given.name in outputs:
        return outputs[given.name]
    return softmax(outputs[logits.name]) if logits and logits.name in outputs else None


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """How undecided each row [rows, classes] is: 0 one class alone, log(classes) all alike."""
    found: np.ndarray = -(probabilities * np.log(probabilities + TINY)).sum(axis=1)
    return found


def softmax(logits: np.ndarray | None) -> np.ndarray | None:
    """Probabilities [rows, classes], if there are logits."""
    if logits is None:
        return None
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=1, keepdims=True)
    return shares


def energy(logits: np.ndarray) -> np.ndarray:
    """log of the sum of exp(logits): low where the model has seen nothing like it."""
    most = logits.max(axis=1)
    total: np.ndarray = most + np.log(np.exp(logits - most[:, None]).sum(axis=1))
    return total
