"""From p-values of windows to a verdict that does not flicker. Pure: no clock, no store, no profile.

    p of a window -> quiet | watch | drift          before the first window: insufficient

Windows that follow one another share half of their samples, so one odd stretch of traffic can spoil two of them: two of three must be
far out before anybody is woken, and three quiet ones in a row before the alarm is over.
"""

from collections import deque
from collections.abc import Sequence
from typing import Literal

Verdict = Literal["insufficient", "quiet", "watch", "drift"]

WATCH = 0.01
"""A window that would look like this in one of a hundred or fewer, were nothing different: worth a look."""
DRIFT = 0.001
"""In one of a thousand, or rarer: two of these among RECENT windows are a drift."""
ALARMS = 2
RECENT = 3
"""Windows that are looked back on; as many quiet ones end a drift."""


class Detector:
    """The verdict on one version. `since` is when it became what it is."""

    def __init__(self) -> None:
        self.verdict: Verdict = "insufficient"
        self.since: float | None = None
        self._recent: deque[float] = deque(maxlen=RECENT)

    def update(self, p: float, at: float) -> Verdict:
        """Judge the next window, which ended at `at`."""
        self._recent.append(p)
        found = self._judged(p)
        if found != self.verdict:
            self.verdict, self.since = found, at
        return found

    def resume(self, verdict: Verdict, since: float, recent: Sequence[float]) -> None:
        """Go on from where another left off: its verdict, and the p-values of its last windows."""
        self.verdict, self.since = verdict, since
        self._recent.extend(recent)

    def _judged(self, p: float) -> Verdict:
        if sum(one <= DRIFT for one in self._recent) >= ALARMS:
            return "drift"
        calm = len(self._recent) == RECENT and all(one > WATCH for one in self._recent)
        if self.verdict == "drift" and not calm:
            return "drift"
        return "quiet" if p > WATCH else "watch"
