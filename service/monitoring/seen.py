"""What control has seen of one version since it was loaded: its judge, if it has a profile, and the counts that are shown. No store, no clock.

Counts are of this machine alone: over several machines they add up.
"""

from bisect import bisect_left

import numpy as np

from models.bundle import Manifest
from models.profile import Profile
from service.monitoring.judge import Judge
from service.monitoring.observed import Rows, column

CONFIDENCES = tuple(step / 10 for step in range(1, 11))
CLASSES = 50
OTHER = "other"
"""Stands for every class beyond CLASSES."""


class Seen:
    """One version. `reason` says why there is no judge. `restored`: whether the ledger was asked what it knows, up to `position`."""

    def __init__(
        self, manifest: Manifest, variant: str | None, judge: Judge | None, reason: str = ""
    ) -> None:
        self.variant = variant
        self.model, self.version = manifest.name, manifest.version
        self.labels = manifest.labels
        self.judge, self.reason = judge, reason
        self.restored = judge is None
        self.position = 0
        self.bins = np.zeros(0 if judge is None else judge.reference.layout.total, np.int64)
        self.classes: dict[str, float] = {}
        self.confidences = [0.0] * (len(CONFIDENCES) + 1)
        self.confidence_sum = 0.0

    @property
    def reference(self) -> Profile | None:
        """What it is compared with."""
        return None if self.judge is None else self.judge.reference

    def count(self, rows: Rows) -> None:
        """Count answers: each stands for as many as its share says, so that totals are those of all requests."""
        weights = 1 / column(rows.shares, "<f4").astype(np.float64)
        labels, confidences = column(rows.labels, "<i4"), column(rows.confidences, "<f4")
        for weight, label, confidence in zip(
            weights.tolist(), labels.tolist(), confidences.tolist(), strict=False
        ):
            name = self._class(label)
            self.classes[name] = self.classes.get(name, 0.0) + weight
            self.confidences[bisect_left(CONFIDENCES, confidence)] += weight
            self.confidence_sum += weight * confidence

    def signals(self, rows: Rows) -> np.ndarray | None:
        """The bins of `rows`, if they are those of this version's profile; they are counted."""
        reference = self.reference
        if reference is None or rows.profile != reference.sha256:
            return None
        bins = column(rows.bins, "u1", len(reference.signals))
        self.bins += reference.counts(bins)
        return bins

    def _class(self, label: int) -> str:
        if label >= CLASSES:
            return OTHER
        return self.labels[label] if label < len(self.labels) else str(label)
