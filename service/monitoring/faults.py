"""What came in over the last hour: requests, inputs that cannot be what they should, and what was observed. Pure: it is told the time.

A broken sensor is no drift: it has to be mended, and a model that is trained on what it sends gets worse.
"""

from collections import deque

import msgspec

from service.monitoring.observed import Inputs

SECONDS = 3600.0
EVERY = 60.0
"""Counts are kept by the minute."""


class Intake(msgspec.Struct, frozen=True):
    """Of one model over `seconds`. `invalid`: requests that were refused for what was in them, by reason; `share`: their part of all.

    `sampled` and `dropped` are rows: observed, and chosen to be but lost.
    """

    seconds: float
    requests: int
    invalid: dict[str, int]
    share: float
    sampled: int
    dropped: int


class Faults:
    """The counts of all front ends, by model."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._kept: dict[str, deque[tuple[float, Inputs]]] = {}

    def add(self, now: float, inputs: Inputs) -> None:
        """Count what a front end tells."""
        kept = self._kept.setdefault(inputs.model, deque())
        if kept and now - kept[-1][0] < EVERY:
            kept[-1] = (kept[-1][0], added(kept[-1][1], inputs))
        else:
            kept.append((now, inputs))
        while kept[0][0] < now - SECONDS:
            kept.popleft()

    def of(self, now: float, model: str) -> Intake:
        """The last hour of one model."""
        total = Inputs(model, 0, {}, 0, 0)
        for at, one in self._kept.get(model, ()):
            if at >= now - SECONDS:
                total = added(total, one)
        share = sum(total.invalid.values()) / max(total.requests, 1)
        seconds = min(SECONDS, now - self._began)
        return Intake(seconds, total.requests, total.invalid, share, total.sampled, total.dropped)


def added(one: Inputs, other: Inputs) -> Inputs:
    """Both together."""
    reasons = sorted({*one.invalid, *other.invalid})
    return Inputs(
        one.model,
        one.requests + other.requests,
        {reason: one.invalid.get(reason, 0) + other.invalid.get(reason, 0) for reason in reasons},
        one.sampled + other.sampled,
        one.dropped + other.dropped,
    )
