"""What is counted, by each kind of process, in a registry of its own. It must not know who counts."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.samples import Exemplar

disable_created_metrics()  # type: ignore[no-untyped-call]

LATENCY = (
    0.0005,
    0.001,
    0.002,
    0.003,
    0.005,
    0.0075,
    0.01,
    0.015,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
)
COMPUTE = (0.0001, 0.00025, *LATENCY)
DIFFERENCES = (0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1)
BYTES = (1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6, 3e6, 1e7)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Tally:
    """A histogram: how many values fell below each bound, and their sum."""

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0
        self._exemplars: dict[int, Exemplar] = {}

    def observe(self, value: float) -> None:
        """Count one value."""
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def exemplify(self, value: float, trace_id: str, now: float) -> None:
        """Show the trace of a value that was counted at `now` (s since 1970): the newest one below each bound is shown."""
        at = bisect_left(self._bounds, value)
        self._exemplars[at] = exemplar(value, trace_id, now)

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Put the cumulative counts into `family`."""
        names = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        counts = enumerate(zip(names, accumulate(self._counts), strict=True))
        found = self._exemplars
        buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = [
            (*one, found[at]) if at in found else one for at, one in counts
        ]
        family.add_metric(labels, buckets, self._sum)


def exemplar(value: float, trace_id: str, now: float) -> Exemplar:
    """A value with its trace."""
    return Exemplar({"trace_id": trace_id}, value, now)


class BatchTally:
    """Batches by their rows: how many there were, and the seconds that they computed. And when the last one ended."""

    MOST_SIZES = 256
    """Callers choose how many rows they bring: sizes beyond so many different ones are not told apart any more, but left out."""

    def __init__(self) -> None:
        self._sizes: dict[int, list[float]] = {}
        self._last = 0.0

    def observe(self, rows: int, seconds: float, now: float) -> None:
        """Count one batch, which ended at `now` (s since 1970)."""
        self._last = now
        if (found := self._sizes.get(rows)) is None:
            if len(self._sizes) >= self.MOST_SIZES:
                return
            found = self._sizes[rows] = [0, 0.0]
        found[0] += 1
        found[1] += seconds

    def collect(self, labels: Sequence[str]) -> Iterator[Metric]:
        """What has been counted. `labels`: model and version."""
        names = ("model", "version", "rows")
        batches = CounterMetricFamily("inference_batches", "Batches run, by rows.", labels=names)
        seconds = CounterMetricFamily(
            "inference_batch_compute_seconds", "Seconds that batches ran, by rows.", labels=names
        )
        for rows, (count, total) in sorted(self._sizes.items()):
            batches.add_metric((*labels, str(rows)), count)
            seconds.add_metric((*labels, str(rows)), total)
        last = GaugeMetricFamily(
            "inference_last_batch_timestamp_seconds", "When a batch last ended.", labels=names[:2]
        )
        last.add_metric(labels, self._last)
        yield from (batches, seconds, last)


class EngineMetrics:
    """What an engine counts: rows, batches and where their time goes. Times in seconds."""

    def __init__(self, model: str, version: int) -> None:
        self.registry = CollectorRegistry()
        labels, values = ("model", "version"), (model, str(version))

        def histogram(name: str, text: str, buckets: Iterable[float]) -> Histogram:
            return Histogram(
                name, text, labels, buckets=tuple(buckets), registry=self.registry
            ).labels(*values)

        def counter(name: str, text: str) -> Counter:
            return Counter(name, text, labels, registry=self.registry).labels(*values)

        self.queue = Tally(COMPUTE)
        self.compute = Tally(COMPUTE)
        self.batches = BatchTally()
        self.registry.register(self)
        self.batch_rows = histogram("inference_batch_rows", "Rows per batch.", ROWS)
        self.rows = counter("inference_rows", "Rows computed.")
        self.padded = counter(
            "inference_padded_elements",
            "Elements along the padded axis that batches were filled up to.",
        )
        self.real = counter(
            "inference_real_elements", "Elements along the padded axis that callers sent."
        )
        self.cancelled = Counter(
            "inference_cancelled_requests",
            "Requests whose caller went away, by where they were.",
            (*labels, "stage"),
            registry=self.registry,
        )
        self.refused = Counter(
            "inference_refused_requests",
            "Requests that were queued for nothing.",
            (*labels, "reason"),
            registry=self.registry,
        )
        self.splits = counter(
            "inference_batch_splits",
            "Batches that failed or did not fit into memory and were run in parts.",
        )
        self._cap = Gauge(
            "inference_batch_cap_rows",
            "Most rows in a batch, by padded length (or shapes).",
            (*labels, "bucket"),
            registry=self.registry,
        )
        self._values = values
        self.queue_rows = Gauge(
            "inference_queue_rows", "Rows waiting.", labels, registry=self.registry
        ).labels(*values)
        self.queue_requests = Gauge(
            "inference_queue_requests", "Requests waiting.", labels, registry=self.registry
        ).labels(*values)

    def collect(self) -> Iterator[Metric]:
        """What the registry asks for: the one count of every request, kept in plain numbers."""
        queue = HistogramMetricFamily(
            "inference_queue_duration_seconds",
            "Wait of a request for its batch.",
            labels=("model", "version"),
        )
        compute = HistogramMetricFamily(
            "inference_compute_duration_seconds",
            "One run of a batch on the model.",
            labels=("model", "version"),
        )
        self.queue.add_to(queue, self._values)
        self.compute.add_to(compute, self._values)
        yield from (queue, compute)
        yield from self.batches.collect(self._values)

    def count_cancelled(self, stage: str) -> None:
        """`stage`: queued (taken out before it cost anything) or running (its result is dropped)."""
        self.cancelled.labels(*self._values, stage).inc()

    def exemplify(self, queued: Mapping[str, float], compute: float, now: float) -> None:
        """Show traces: the wait of each traced request of a batch, by its trace, and how long the batch ran."""
        for trace_id, wait in queued.items():
            self.queue.exemplify(wait, trace_id, now)
            self.compute.exemplify(compute, trace_id, now)

    def show_caps(self, caps: Mapping[str, int]) -> None:
        """The caps as they stand, by bucket."""
        for bucket, cap in caps.items():
            self._cap.labels(*self._values, bucket).set(cap)

    def count_refused(self, reason: str) -> None:
        """`reason`: queue_full, deadline_unmeetable (both on arrival), deadline (in the queue) or failed."""
        self.refused.labels(*self._values, reason).inc()


class ControlMetrics:
    """What control knows: which versions run on what, who answers, and how often it had to start one again."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("model", "version")
        self.ready = Gauge(
            "inference_model_ready", "1 while the version answers.", labels, registry=self.registry
        )
        self.restarts = Counter(
            "inference_engine_restarts",
            "Engine processes started again after they ended.",
            labels,
            registry=self.registry,
        )
        self.device = Gauge(
            "inference_device_info",
            "1 for the provider that runs, beside the one asked for.",
            (*labels, "requested", "provider", "variant"),
            registry=self.registry,
        )
        self.fallback = Gauge(
            "inference_device_fallback",
            "1 where another provider runs than the one that was named.",
            labels,
            registry=self.registry,
        )
        self.nodes = Gauge(
            "inference_device_nodes",
            "Nodes of the graph by the provider that they were put on.",
            (*labels, "provider"),
            registry=self.registry,
        )
        self.traffic = Gauge(
            "inference_traffic_percent",
            "Share of a model's requests that go to a canary, or are copied to a shadow.",
            (*labels, "role"),
            registry=self.registry,
        )
        self.by_version = (
            self.ready,
            self.restarts,
            self.device,
            self.fallback,
            self.nodes,
            self.traffic,
        )
        """All that have to go with a version."""
        self.front_ends = Gauge(
            "inference_front_ends", "Front ends that answer.", registry=self.registry
        )
        self.front_end_restarts = Counter(
            "inference_front_end_restarts",
            "Front-end processes started again after they ended.",
            registry=self.registry,
        )
