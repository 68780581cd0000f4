"""Accuracy without labels: two estimates that are means over rows, so that sums of them add up. They say nothing of what labels mean today.

- CBPE: the mean calibrated confidence.
- ATC: the share of rows whose entropy is below a threshold that, on held-out rows, gives the accuracy (Garg et al. 2022). By entropy, not by
  confidence: where pictures turn very noisy or are turned far, it is wrong by a third less.
"""

import msgspec
import numpy as np

from models.profile.answers import entropy, softmax

TEMPERATURES = (0.2, 5.0)
TINY = 1e-12


class Estimate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What turns answers into an estimated accuracy, learned from `n` labelled held-out rows with this `accuracy`."""

    temperature: float
    threshold: float
    accuracy: float
    n: int

    def rows(self, probabilities: np.ndarray) -> np.ndarray:
        """float32 [rows, 2] of [rows, classes]: each row's calibrated confidence, and 1 where its entropy is below the threshold."""
        confidence = calibrated(probabilities, self.temperature)
        sure = entropy(probabilities) <= self.threshold
        return np.stack([confidence, sure], axis=1).astype(np.float32)

    def sums(self, probabilities: np.ndarray) -> dict[str, float]:
        """Sums over rows [rows, classes]: add those of other rows, then ask `accuracies`."""
        confidence, above = self.rows(probabilities).sum(axis=0, dtype=np.float64)
        return {"rows": len(probabilities), "confidence": float(confidence), "above": float(above)}

    def accuracies(self, sums: dict[str, float]) -> dict[str, float]:
        """Estimated accuracy by method, of the rows that were added up."""
        rows = max(sums["rows"], 1)
        return {"cbpe": sums["confidence"] / rows, "atc": sums["above"] / rows}


def learn(probabilities: np.ndarray, labels: np.ndarray) -> Estimate:
    """Temperature and threshold from labelled held-out rows: probabilities [rows, classes], labels [rows]."""
    temperature = fitted(probabilities, labels)
    accuracy = float((probabilities.argmax(axis=1) == labels).mean())
    threshold = float(np.quantile(entropy(probabilities), accuracy))
    return Estimate(
        float(f"{temperature:.6g}"),
        float(f"{threshold:.9g}"),
        float(f"{accuracy:.6g}"),
        len(labels),
    )


def calibrated(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """The confidence of each row [rows, classes] at this temperature."""
    shares = softmax(np.log(probabilities + TINY) / temperature)
    assert shares is not None  # noqa: S101 - probabilities were given
    top: np.ndarray = shares.max(axis=1)
    return top


def fitted(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The temperature at which the labels are likeliest, by golden-section search: the loss has one minimum."""
    scores = np.log(probabilities.astype(np.float64) + TINY)

    def loss(log_temperature: float) -> float:
        z = scores / np.exp(log_temperature)
        z -= z.max(axis=1, keepdims=True)
        return float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), labels]).mean())

    low, high = np.log(TEMPERATURES)
    ratio = (np.sqrt(5) - 1) / 2
    for _ in range(40):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(left) < loss(right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))
