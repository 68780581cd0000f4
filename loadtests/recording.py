"""What a run was, second by second and stage by stage: counts, latencies and the server's own timings. It must not know Locust,
which patches sockets and threads of any process that imports it.

Latencies are of answered requests only: a refusal is quick, and would make an overloaded service look fast.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec
import numpy as np

Outcome = Literal["answered", "failed", "shed"]

MOST_WINDOWS = 300
"""A longer run is recorded in wider windows, so that a soak of a day takes no more memory than a run of five minutes."""


class Stage(msgspec.Struct, frozen=True):
    """So many users for so long. Where `judged`, the latency and rate that were asked for must hold."""

    name: str
    users: int
    seconds: float
    judged: bool = True


class Tally(msgspec.Struct):
    """Requests to one model. `timed` of the answered ones told where their time went; the sums are milliseconds."""

    answered: int = 0
    failed: int = 0
    shed: int = 0
    latencies: dict[float, int] = {}
    timed: int = 0
    queue_ms: float = 0.0
    compute_ms: float = 0.0
    rest_ms: float = 0.0

    @property
    def requests(self) -> int:
        """All that came to an end, well or not."""
        return self.answered + self.failed + self.shed

    @property
    def failure_share(self) -> float:
        """0 to 1."""
        return self.failed / max(self.requests, 1)

    @property
    def shed_share(self) -> float:
        """0 to 1."""
        return self.shed / max(self.requests, 1)

    def count(self, outcome: Outcome, latency_ms: float, timings_ms: Mapping[str, float]) -> None:
        """Add one request."""
        if outcome == "failed":
            self.failed += 1
        elif outcome == "shed":
            self.shed += 1
        else:
            self.answered += 1
            rounded = float(f"{latency_ms:.3g}")
            self.latencies[rounded] = self.latencies.get(rounded, 0) + 1
            if timings_ms:
                self.timed += 1
                self.queue_ms += timings_ms["queue"]
                self.compute_ms += timings_ms["compute"]
                self.rest_ms += max(latency_ms - timings_ms["queue"] - timings_ms["compute"], 0)

    def percentile(self, share: float) -> float | None:
        """The latency in milliseconds that `share` of the answers did not exceed, to three figures; None without any."""
        if not self.answered:
            return None
        counts = list(self.latencies.values())
        return float(
            np.quantile(list(self.latencies), share, weights=counts, method="inverted_cdf")
        )


def merged(tallies: Iterable[Tally]) -> Tally:
    """All of them as one."""
    total = Tally()
    for tally in tallies:
        for field in ("answered", "failed", "shed", "timed", "queue_ms", "compute_ms", "rest_ms"):
            setattr(total, field, getattr(total, field) + getattr(tally, field))
        for latency, times in tally.latencies.items():
            total.latencies[latency] = total.latencies.get(latency, 0) + times
    return total


class Span(msgspec.Struct):
    """A part of a run: from `begins` to `ends`, in seconds from its start, with the users there at its end."""

    begins: float
    ends: float
    users: int = 0
    models: dict[str, Tally] = {}

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.ends - self.begins

    def tally(self, model: str) -> Tally:
        """The model's requests in this part."""
        return self.models.get(model, Tally())

    def total(self) -> Tally:
        """All models' requests in this part."""
        return merged(self.models.values())

    def rate(self, tally: Tally) -> float:
        """Answers per second."""
        return tally.answered / self.seconds if self.seconds > 0 else 0.0


class StageSpan(Span, kw_only=True):
    """A stage as it went."""

    stage: Stage


class Recording(msgspec.Struct):
    """A whole run. `window_s` is the width of a window; the last one can be wider by half."""

    shape: str
    window_s: float
    windows: list[Span] = []
    stages: list[StageSpan] = []

    @property
    def seconds(self) -> float:
        """How long the run was."""
        return self.stages[-1].ends if self.stages else 0.0

    @property
    def models(self) -> list[str]:
        """Whoever was asked, in the order of the alphabet."""
        return sorted({model for stage in self.stages for model in stage.models})

    def whole(self) -> Span:
        """The run as one part."""
        tallies = {
            m: merged(s.models[m] for s in self.stages if m in s.models) for m in self.models
        }
        users = max((stage.stage.users for stage in self.stages), default=0)
        return Span(0.0, self.seconds, users, tallies)


class Recorder:
    """Counts into the window and the stage that are now. `users` tells how many there are."""

    def __init__(
        self,
        shape: str,
        expected_s: float,
        users: Callable[[], int],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._shape = shape
        self._users = users
        self._clock = clock
        self._width = max(1.0, expected_s / MOST_WINDOWS)
        self.begin()

    def begin(self) -> None:
        """Forget everything: the run begins now."""
        self.recording = Recording(self._shape, self._width)
        self._started = self._clock()

    def enter(self, stage: Stage) -> None:
        """From now on `stage` is counted."""
        now = self._close_stage()
        self.recording.stages.append(StageSpan(now, now, stage=stage))

    def closed_stages(self) -> list[StageSpan]:
        """The stages so far, as if the last one ended now."""
        self._close_stage()
        return self.recording.stages

    def count(
        self, model: str, outcome: Outcome, latency_ms: float, timings_ms: Mapping[str, float]
    ) -> None:
        """A request came to its end just now."""
        for span in self._current():
            span.models.setdefault(model, Tally()).count(outcome, latency_ms, timings_ms)

    def tick(self) -> None:
        """To be called every second: a service that hangs leaves no other trace."""
        self._current()

    def end(self) -> Recording:
        """The run ends now. A last window too narrow for a rate is added to the one before."""
        now = self._close_stage()
        windows = self.recording.windows
        if windows:
            windows[-1].ends = max(min(windows[-1].ends, now), windows[-1].begins)
        if len(windows) > 1 and windows[-1].seconds < self._width / 2:
            last = windows.pop()
            for model, tally in last.models.items():
                windows[-1].models[model] = merged([windows[-1].tally(model), tally])
            windows[-1].ends = last.ends
        return self.recording

    def _current(self) -> list[Span]:
        """The window and the stage of this moment. Windows in which nothing came to an end are there, too."""
        windows = self.recording.windows
        now = self._clock() - self._started
        users = self._users()
        while not windows or windows[-1].ends <= now:
            begins = windows[-1].ends if windows else 0.0
            windows.append(Span(begins, begins + self._width, users))
        spans = [windows[-1], *self.recording.stages[-1:]]
        for span in spans:
            span.users = users
        return spans

    def _close_stage(self) -> float:
        now = self._clock() - self._started
        if self.recording.stages:
            self.recording.stages[-1].ends = now
        return now
