"""One version's traffic against its profile: blocks in, evaluations out. Pure: it must not know where blocks come from or are kept.

rows -> Blocks -> Window <- blocks of other machines          Window.due -> compare -> Detector -> Evaluation
"""

from collections.abc import Sequence
from typing import cast

import msgspec
import numpy as np

from models import profile
from service.ledger.records import Block, Evaluation
from service.monitoring.blocks import Blocks
from service.monitoring.detector import RECENT, Detector, Verdict
from service.monitoring.window import Counted, Window

USUAL, SHARE = 500, 0.1
"""The largest window without the setting: the verdict is to come within hours where requests are few, and in a window of a tenth of the
reference the luck of its own draw still says little."""


class Judge:
    """One version and profile. `largest`: the window that is wanted; the largest that the profile admits up to it is taken."""

    def __init__(
        self,
        model: str,
        version: int,
        reference: profile.Profile,
        machine: str,
        largest: int | None = None,
    ) -> None:
        self.model, self.version, self.reference = model, version, reference
        if largest is None:
            largest = min(USUAL, int(SHARE * reference.rows))
        self.sizes = [n for n in reference.sizes if n <= largest] or [reference.sizes[0]]
        self.window = Window(self.sizes)
        self.detector = Detector()
        self.blocks = Blocks(model, version, reference, machine)
        self.comparison: profile.Comparison | None = None
        """The last window's."""
        self.counted: Counted | None = None
        self.evaluated_at: float | None = None

    def add(self, at: Sequence[float], bins: np.ndarray, estimates: np.ndarray) -> list[Block]:
        """Rows of this machine; the blocks that they have filled are in the window, and returned to be kept."""
        full = self.blocks.add(at, bins, estimates)
        for block in full:
            self.window.add(block)
        return full

    def resume(self, blocks: Sequence[Block], evaluations: Sequence[Evaluation]) -> bool:
        """Begin again with what was kept: the newest blocks, and the last evaluations, the oldest first.

        Whether the blocks reach back far enough to go on as if there had been no break.
        """
        self.window, self.detector = Window(self.sizes), Detector()
        self.comparison = self.counted = self.evaluated_at = None
        for block in blocks:
            self.window.add(block)
        ours = [one for one in evaluations if one.profile == self.reference.sha256]
        if not ours:
            return False
        last = ours[-1]
        self.detector.resume(
            cast(Verdict, last.verdict), since(ours), [one.p for one in ours[-RECENT:]]
        )
        self.evaluated_at = last.at
        whole = self.window.resume(last.at, last.n)
        if (counted := self.window.last()) is not None:
            self._compare(counted)
        return whole

    def evaluate(self) -> list[Evaluation]:
        """Evaluate every window that is due. Machines that share blocks come to the same, and all of them write it down: the first one counts."""
        return [self._judge(counted, block.ended_at) for block, counted in self.window.due()]

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

    def _judge(self, counted: Counted, at: float) -> Evaluation:
        comparison = self._compare(counted)
        verdict = self.detector.update(comparison.p, at)
        self.evaluated_at = at
        signals = msgspec.json.encode(comparison.signals)
        return Evaluation(
            self.model,
            self.version,
            self.reference.sha256,
            at,
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
