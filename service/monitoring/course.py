"""How accuracy went: labels in the order of their arrival, in steps that get longer as there are more. Pure; no clock, no store."""

from typing import NamedTuple

STEP = 50
"""Labels in a step, at first."""
MOST = 120
"""Steps; beyond them every two become one."""


class Step(NamedTuple):
    """`labels` labels, the last of which came at `at`; the answers' weights, and those of the right ones."""

    at: float
    labels: int
    weight: float
    right: float


class Course:
    """The steps, the last of which may not be full."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._size = STEP

    def add(self, at: float, weight: float, right: bool) -> None:
        """Count one label."""
        one = Step(at, 1, weight, weight * right)
        if self.steps and self.steps[-1].labels < self._size:
            self.steps[-1] = joined(self.steps[-1], one)
            return
        if len(self.steps) == MOST:
            pairs = zip(self.steps[::2], self.steps[1::2], strict=True)
            self.steps = [joined(*pair) for pair in pairs]
            self._size *= 2
        self.steps.append(one)


def joined(first: Step, second: Step) -> Step:
    """Both as one."""
    return Step(
        max(first.at, second.at),
        first.labels + second.labels,
        first.weight + second.weight,
        first.right + second.right,
    )
