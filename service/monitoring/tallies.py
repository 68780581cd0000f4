"""What observing counts in a front end: rows by model, and what they cost. It must not know who looks at them.

Each figure belongs to one thread: `sample` and `drop` to the event loop, `lose` and `spend` to the drain thread.
"""

from collections.abc import Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, Metric

from service.monitoring.observed import Inputs


class ObserverTally:
    """The counts of one front end, and the registry's collector of them."""

    def __init__(self) -> None:
        self.sampled: dict[str, int] = {}
        self._dropped: dict[str, int] = {}
        self._lost: dict[str, int] = {}
        self._seconds: dict[str, float] = {}

    def sample(self, model: str, rows: int) -> None:
        """Rows were taken to be looked at."""
        self.sampled[model] = self.sampled.get(model, 0) + rows

    def drop(self, model: str, rows: int) -> None:
        """Rows that were chosen found no room, or control could not be told."""
        self._dropped[model] = self._dropped.get(model, 0) + rows

    def lose(self, model: str, rows: int) -> None:
        """Rows could not be looked at."""
        self._lost[model] = self._lost.get(model, 0) + rows

    def spend(self, model: str, seconds: float) -> None:
        """CPU time of the drain thread."""
        self._seconds[model] = self._seconds.get(model, 0.0) + seconds

    def dropped(self, model: str) -> int:
        """Rows that were chosen and of which control heard nothing."""
        return self._dropped.get(model, 0) + self._lost.get(model, 0)

    def collect(self) -> Iterator[Metric]:
        """What the registry asks for."""
        sampled = CounterMetricFamily(
            "inference_monitor_sampled", "Rows that were observed.", labels=("model",)
        )
        dropped = CounterMetricFamily(
            "inference_monitor_dropped",
            "Rows that were chosen to be observed and were not: no room, no control, or a failure.",
            labels=("model",),
        )
        seconds = CounterMetricFamily(
            "inference_monitor_cpu_seconds",
            "CPU seconds that looking at observed rows took, beside requests.",
            labels=("model",),
        )
        for model in sorted({*self.sampled, *self._dropped}):
            sampled.add_metric((model,), self.sampled.get(model, 0))
            dropped.add_metric((model,), self.dropped(model))
            seconds.add_metric((model,), self._seconds.get(model, 0.0))
        yield from (sampled, dropped, seconds)


class Shipped:
    """What control was told so far, so that it is told the rest."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[int, Mapping[str, int], int, int]] = {}

    def since(
        self, counted: Mapping[str, tuple[int, Mapping[str, int]]], tally: ObserverTally
    ) -> list[Inputs]:
        """Of every model that has something new: by how much its counts have grown. One that was unloaded starts anew."""
        grown: list[Inputs] = []
        for model, (requests, invalid) in counted.items():
            now = (requests, dict(invalid), tally.sampled.get(model, 0), tally.dropped(model))
            before = self._told.get(model, (0, {}, 0, 0))
            if now == before:
                continue
            self._told[model] = now
            more = {reason: count - before[1].get(reason, 0) for reason, count in now[1].items()}
            grown.append(
                Inputs(
                    model,
                    max(0, now[0] - before[0]),
                    {reason: count for reason, count in more.items() if count > 0},
                    now[2] - before[2],
                    now[3] - before[3],
                )
            )
        return grown
