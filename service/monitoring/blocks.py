"""Rows as they come -> blocks of exactly SAMPLES of them, which add up. Pure: no store, no clock of its own."""

from collections.abc import Sequence

import msgspec
import numpy as np

from models.profile import Profile
from service.ledger.records import Block

SAMPLES = 50
TICK = 1e-6
"""Seconds by which a block at least ends after the one before: its end says which blocks a window holds."""


class Rest(msgspec.Struct, array_like=True):
    """Rows that do not fill a block yet, so that a restart does not lose them. One entry a row: when, its bins, its figures."""

    at: list[float]
    bins: bytes
    estimates: bytes


class Blocks:
    """The blocks of one version that this machine makes. Their ends only ever grow, whatever the clocks of front ends say."""

    def __init__(self, model: str, version: int, profile: Profile, machine: str) -> None:
        self._model, self._version, self._machine = model, version, machine
        self._profile = profile
        self._number = 0
        self._ended_at = 0.0
        self._signals = len(profile.signals)
        self._at: list[float] = []
        self._bins = np.empty((0, self._signals), np.uint8)
        self._estimates = np.empty((0, 2), np.float32)

    @property
    def waiting(self) -> int:
        """Rows that do not fill a block yet."""
        return len(self._at)

    def add(self, at: Sequence[float], bins: np.ndarray, estimates: np.ndarray) -> list[Block]:
        """Take rows in: when they were answered, bins [rows, signals], estimates [rows, 2] or none. The blocks that are full now."""
        self._at += at
        self._bins = np.concatenate([self._bins, bins])
        self._estimates = np.concatenate([self._estimates, estimates])
        full: list[Block] = []
        while len(self._at) >= SAMPLES:
            full.append(self._cut())
        return full

    def rest(self) -> Rest:
        """What waits."""
        return Rest(self._at, self._bins.tobytes(), self._estimates.tobytes())

    def resume(self, rest: Rest) -> None:
        """Go on with what another left behind."""
        bins = np.frombuffer(rest.bins, np.uint8).reshape(-1, self._signals)
        estimates = np.frombuffer(rest.estimates, np.float32).reshape(-1, 2)
        self.add(rest.at, bins, estimates)

    def _cut(self) -> Block:
        at, self._at = self._at[:SAMPLES], self._at[SAMPLES:]
        bins, self._bins = self._bins[:SAMPLES], self._bins[SAMPLES:]
        known = min(len(self._estimates), SAMPLES)
        estimates, self._estimates = self._estimates[:known], self._estimates[known:]
        self._number += 1
        self._ended_at = max(self._ended_at + TICK, *at)
        confidence, above = (float(one) for one in estimates.sum(axis=0, dtype=np.float64))
        return Block(
            self._model,
            self._version,
            self._profile.sha256,
            self._machine,
            self._number,
            min(at),
            self._ended_at,
            SAMPLES,
            self._profile.counts(bins).astype("<i4").tobytes(),
            {"rows": float(known), "confidence": confidence, "above": above} if known else {},
        )
