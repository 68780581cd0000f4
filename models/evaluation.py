"""How good a classifier is, from labels and probabilities alone. numpy only: it must not know how a model runs."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

Z95 = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""


class Share(NamedTuple):
    """A share of `n` with its 95 % Wilson interval."""

    value: float
    n: int
    low: float
    high: float


class ClassScore(NamedTuple):
    """One class: of the rows said to be it, how many are (precision); of those that are, how many were found (recall)."""

    precision: float
    recall: float
    f1: float
    support: int


class Epoch(NamedTuple):
    """One pass over the training data: losses, shares of correct answers, and the learning rate at its end."""

    train_loss: float
    train_accuracy: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float
    seconds: float


def share(correct: int, n: int) -> Share:
    """`correct` of `n` with Wilson's interval, which stays inside 0..1 and is honest near both ends.

    Raises ValueError unless 0 <= correct <= n and n >= 1.
    """
    if not 0 <= correct <= n or n < 1:
        raise ValueError(f"{correct} of {n} is no share")
    value = correct / n
    return Share(value, n, *wilson(value, n))


def wilson(value: float, n: float) -> tuple[float, float]:
    """The 95 % interval of a share found in `n`, which need not be whole where rows count unevenly."""
    spread = Z95**2 / n
    centre = (value + spread / 2) / (1 + spread)
    half = Z95 / (1 + spread) * math.sqrt(value * (1 - value) / n + spread / (4 * n))
    return max(0.0, min(value, centre - half)), min(1.0, max(value, centre + half))


def accuracy(labels: np.ndarray, probabilities: np.ndarray) -> Share:
    """Share of rows whose likeliest class is the right one; labels [rows], probabilities [rows, classes]."""
    return share(int((probabilities.argmax(1) == labels).sum()), len(labels))


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts int64 [classes, classes]: row = the truth, column = the answer."""
    counts = np.bincount(labels * classes + predicted, minlength=classes * classes)
    return counts.reshape(classes, classes)


def per_class(counts: np.ndarray) -> list[ClassScore]:
    """A confusion matrix read class by class; 0 where a share has nothing to be a share of."""
    scores = []
    for index in range(len(counts)):
        hits = int(counts[index, index])
        said, support = int(counts[:, index].sum()), int(counts[index].sum())
        f1 = 2 * hits / (said + support) if said + support else 0.0
        scores.append(
            ClassScore(
                hits / said if said else 0.0, hits / support if support else 0.0, f1, support
            )
        )
    return scores


def calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error: by how much stated confidence and accuracy differ, weighted over equal bins."""
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    which = np.minimum((confidence * bins).astype(np.int64), bins - 1)
    gaps = [abs(confidence[which == b].sum() - correct[which == b].sum()) for b in range(bins)]
    return float(sum(gaps) / len(labels))


def verdict(history: Sequence[Epoch], best: int) -> str:
    """One plain sentence on over- and underfitting, from the curves; `best` is the index of the epoch that was kept.

    Training rows are augmented and pass through dropout, so their accuracy reads lower than on clean rows.
    """
    kept, last = history[best], history[-1]
    gap = kept.train_accuracy - kept.validation_accuracy
    figures = f"training {kept.train_accuracy:.1%}, validation {kept.validation_accuracy:.1%} at the kept epoch {best + 1} of {len(history)}"
    if last.validation_loss > 1.1 * kept.validation_loss:
        return f"Overfits after the kept epoch ({figures}; validation loss rose from {kept.validation_loss:.3f} to {last.validation_loss:.3f}); early stopping kept the weights from before."
    if gap > 0.05:
        return f"Overfits somewhat: {figures}, though the validation loss did not turn up."
    if (
        len(history) > 2
        and best == len(history) - 1
        and history[-2].validation_loss - last.validation_loss > 0.02 * last.validation_loss
    ):
        return f"Underfits: the validation loss was still falling at the end ({figures}); more epochs should help."
    return f"Neither over- nor underfits visibly: {figures}."
