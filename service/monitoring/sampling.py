"""What share of the requests is observed, so that observing stays cheap. Pure: it is told the time and what was spent.

    CPU seconds and rows since the last look -> spent of what is allowed -> halve | keep | double the share

It knows nothing of what is in a request: who is observed is decided by lot, before anything is looked at.
"""

import math
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

SECONDS = 10.0
"""The budget is an average over this time, so that a burst may take more."""
RECENT = 1.0
"""What the last second took, all of it at the share that holds now, says how far that must fall."""
SMALLEST = 1 / 4096
ROOM = 0.8
"""The share is doubled when twice of what is spent stays below this part of what is allowed."""


class Spent(NamedTuple):
    """What was spent up to `at`, since the entry before."""

    at: float
    cpu: float
    rows: int


class Shares:
    """The share of each model: CPU (seconds a second) is bounded for all together, rows a second for each, so that one that is asked a lot
    does not keep another from being looked at.
    """

    def __init__(self, budget: float, rows_per_s: float, now: float) -> None:
        self._rows_per_s = rows_per_s
        self._cpu = Sampling(budget, math.inf, now)
        self._rows: dict[str, Sampling] = {}
        self._shares: dict[str, float] = {}

    @property
    def smallest(self) -> float:
        """Of any model."""
        return min(self._shares.values(), default=self._cpu.share)

    def of(self, model: str) -> float:
        """The share of `model`."""
        return self._shares.get(model, self._cpu.share)

    def spend(self, now: float, cpu: float, rows: Mapping[str, int]) -> None:
        """Count what was spent since the last call, rows by their model, and move the shares."""
        self._cpu.spend(now, cpu, 0)
        for model in rows.keys() - self._rows.keys():
            self._rows[model] = Sampling(math.inf, self._rows_per_s, now)
        for model, own in self._rows.items():
            own.spend(now, 0.0, rows.get(model, 0))
        # A new one each time: other threads read it.
        self._shares = {model: self._cpu.share * own.share for model, own in self._rows.items()}


class Sampling:
    """One share. `budget`: CPU seconds a second; `rows_per_s`: rows a second."""

    def __init__(self, budget: float, rows_per_s: float, now: float) -> None:
        self.share = 1.0
        self._budget, self._rows_per_s = budget, rows_per_s
        self._spent: deque[Spent] = deque()
        self._changed = now

    def spend(self, now: float, cpu: float, rows: int) -> None:
        """Count what was spent since the last call, and move the share."""
        self._spent.append(Spent(now, cpu, rows))
        while self._spent[0].at <= now - SECONDS:
            self._spent.popleft()
        average, recent = self._pressure(now, SECONDS), self._pressure(now, RECENT)
        if average > 1 and now - self._changed >= RECENT:
            self._lower(now, recent)
        elif self.share < 1 and now - self._changed >= SECONDS and 2 * average < ROOM:
            self.share, self._changed = 2 * self.share, now

    def _lower(self, now: float, recent: float) -> None:
        """Halve until what the last second took would be allowed. A burst that is over lowers nothing."""
        while recent > 1 and self.share > SMALLEST:
            self.share, recent, self._changed = self.share / 2, recent / 2, now

    def _pressure(self, now: float, seconds: float) -> float:
        """What was spent in the last `seconds`, as a part of what is allowed."""
        spent = [one for one in self._spent if one.at > now - seconds]
        cpu, rows = sum(one.cpu for one in spent), sum(one.rows for one in spent)
        return max(cpu / self._budget, rows / self._rows_per_s) / seconds
