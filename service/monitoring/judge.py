"""One version's traffic against its profile: blocks in, evaluations out. Pure: it must not know where blocks come from or are kept.

rows -> Blocks -> Window <- blocks of other machines          Window.due -> compare -> Detector -> Evaluation
"""

import math
from collections.abc import Sequence
from typing import cast

import msgspec
import numpy as np

from models import profile
from service.ledger.records import Block, Evaluation
from service.monitoring.blocks import Blocks
from service.monitoring.detector import RECENT, Detector, Verdict
from service.monitoring.window import Counted, Place, Window

USUAL = 500
"""The largest window without the setting: the verdict is to come within hours where requests are few."""
LAST = chr(0x10FFFF)
"""Behind every machine's name."""


class Judge:
    """One version and profile. `largest`: the window that is wanted; the largest that the profile admits up to it is taken."""

    def __init__(
        self, model: str, version: int, reference: profile.Profile, machine: str, largest: int
    ) -> None:
        self.model, self.version, self.reference = model, version, reference
        self.sizes = [n for n in reference.sizes if n <= largest] or [reference.sizes[0]]
        self.window = Window(self.sizes)
        self.detector = Detector()
        self.blocks = Blocks(model, version, reference, machine)
        self.comparison: profile.Comparison | None = None
        """The last window's."""
        self.counted: Counted | None = None
        self.evaluated_at: float | None = None
        self._machine = machine

    def add(self, at: Sequence[float], bins: np.ndarray, estimates: np.ndarray) -> list[Block]:
        """Rows of this machine; the blocks that they have filled are in the window, and returned to be kept."""
        full = self.blocks.add(at, bins, estimates)
        for block in full:
            self.window.add(block)
        return full

    def resume(self, blocks: Sequence[Block], evaluations: Sequence[Evaluation]) -> None:
        """Go on from what was kept: the newest blocks, and the last evaluations with the oldest first."""
        for block in blocks:
            self.window.add(block)
        ours = [one for one in evaluations if one.profile == self.reference.sha256]
        if not ours:
            return
        last = ours[-1]
        self.detector.resume(
            cast(Verdict, last.verdict), since(ours), [one.p for one in ours[-RECENT:]]
        )
        self.window.judged, self.window.judged_size = (last.at, LAST, 0), last.n
        self.evaluated_at = last.at
        if (counted := self.window.newest(last.n, self.window.judged)) is not None:
            self._compare(counted)

    def evaluate(self, settled: float = math.inf) -> list[Evaluation]:
        """Evaluate every window that is due, of blocks that ended until `settled`. What this machine is to keep of it is returned."""
        kept: list[Evaluation] = []
        for n, place in self.window.due(settled):
            if (counted := self.window.newest(n, place)) is None:
                continue
            evaluation = self._judge(counted, place)
            # All machines come to the same; the one whose block completed the window writes it down.
            if place[1] == self._machine:
                kept.append(evaluation)
        return kept

    def at(self, n: int) -> profile.Comparison | None:
        """The newest `n` samples, compared now; None while there are fewer."""
        counted = self.window.newest(n)
        return None if counted is None else self._compared(counted)

    def accuracies(self) -> dict[str, float]:
        """Estimated accuracy of the last window by method; empty where the profile cannot tell."""
        known = self.reference.estimate
        if self.counted is None or known is None or not self.counted.sums.get("rows"):
            return {}
        return known.accuracies(self.counted.sums)

    def _judge(self, counted: Counted, place: Place) -> Evaluation:
        comparison = self._compare(counted)
        verdict = self.detector.update(comparison.p, place[0])
        self.evaluated_at = place[0]
        signals = msgspec.json.encode(comparison.signals)
        return Evaluation(
            self.model,
            self.version,
            self.reference.sha256,
            place[0],
            counted.samples,
            comparison.p,
            verdict,
            signals,
        )

    def _compare(self, counted: Counted) -> profile.Comparison:
        self.counted, self.comparison = counted, self._compared(counted)
        return self.comparison

    def _compared(self, counted: Counted) -> profile.Comparison:
        return profile.compare(self.reference, counted.counts, counted.samples)


def since(evaluations: Sequence[Evaluation]) -> float:
    """When the last verdict began, as far as they reach back."""
    began = evaluations[-1]
    for one in reversed(evaluations):
        if one.verdict != began.verdict:
            break
        began = one
    return began.at
