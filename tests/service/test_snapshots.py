"""Counts of several processes add up, and stay when a process has gone."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from service import snapshots
from service.metrics import Tally


def process(requests: int, waiting: int, seconds: list[float]) -> snapshots.Snapshot:
    """The snapshot of a process that counted this, as it comes over a socket."""
    registry = CollectorRegistry()
    Counter("requests", "r", ("model",), registry=registry).labels("m").inc(requests)
    Gauge("waiting", "w", registry=registry).set(waiting)
    histogram = Histogram("seconds", "s", buckets=(1, 2), registry=registry)
    for one in seconds:
        histogram.observe(one)
    return msgspec.convert(msgspec.to_builtins(snapshots.snapshot(registry)), snapshots.Snapshot)


def samples(one: snapshots.Snapshot) -> dict[str, float]:
    page = snapshots.exposition(one).decode()
    return {
        s.name + str(s.labels.get("le", "")): s.value
        for f in text_string_to_metric_families(page)
        for s in f.samples
    }


def test_counters_gauges_and_buckets_add_up():
    merged = samples(snapshots.merge([process(2, 1, [0.5, 1.5]), process(3, 4, [1.5, 9])]))
    assert (merged["requests_total"], merged["waiting"]) == (5, 5)
    assert [merged[f"seconds_bucket{le}"] for le in ("1.0", "2.0", "+Inf")] == [1, 3, 4]
    assert merged["seconds_sum"] == 12.5


def test_a_process_that_ended_keeps_its_counts_and_loses_its_gauges():
    totals = snapshots.Totals()
    totals.update("a", process(2, 7, [1.0]))
    totals.update("b", process(3, 1, []))
    totals.retire("a")
    left = samples(totals.total())
    assert (left["requests_total"], left["waiting"], left["seconds_count"]) == (5, 1, 1)
    totals.update("b", process(4, 0, []))
    assert samples(totals.total())["requests_total"] == 6


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5), st.booleans()), max_size=20))
def test_no_counter_ever_falls(events: list[tuple[str, int, bool]]):
    totals, counts, last = snapshots.Totals(), dict.fromkeys("abc", 0), 0.0
    for source, more, ends in events:
        counts[source] += more
        totals.update(source, process(counts[source], 0, []))
        if ends:
            totals.retire(source)
            counts[source] = 0
        now = samples(totals.total())["requests_total"]
        assert now >= last
        last = now


def test_what_versions_counted_that_are_not_loaded_is_forgotten():
    registry = CollectorRegistry()
    answered = Counter("answered", "a", ("model", "version"), registry=registry)
    answered.labels("m", "1").inc(3)
    answered.labels("m", "2").inc(4)
    Gauge("alone", "g", registry=registry).set(1)
    totals = snapshots.Totals()
    totals.update("a", snapshots.snapshot(registry))
    totals.retire("a")
    totals.update("b", snapshots.snapshot(registry))
    totals.keep({("m", "2")})
    assert samples(totals.total()) == {"answered_total": 8, "alone": 1}
    totals.keep({("m", "1"), ("m", "2")})  # what had ended is gone for good
    page = snapshots.exposition(totals.total()).decode()
    assert 'answered_total{model="m",version="1"} 3.0' in page


def traced(trace: str, seconds: float, moment: float) -> snapshots.Snapshot:
    """The snapshot of a process that counted one value, and knows its trace."""
    tally, family = Tally((1.0, 2.0)), HistogramMetricFamily("seconds", "s", labels=("model",))
    tally.observe(seconds)
    tally.exemplify(seconds, trace, moment)
    tally.add_to(family, ("m",))
    registry = CollectorRegistry()
    registry.register(Fixed(family))
    return msgspec.convert(msgspec.to_builtins(snapshots.snapshot(registry)), snapshots.Snapshot)


class Fixed(Collector):
    """Gives one family."""

    def __init__(self, family: Metric) -> None:
        self._family = family

    def collect(self) -> list[Metric]:
        return [self._family]


def examples(one: snapshots.Snapshot) -> dict[str, tuple[str, float]]:
    """By bound: the trace that is shown, and its value. Read by the client library's own parser."""
    page = snapshots.exposition(one, openmetrics_asked=True).decode()
    return {
        s.labels["le"]: (s.exemplar.labels["trace_id"], s.exemplar.value)
        for f in openmetrics.text_string_to_metric_families(page)
        for s in f.samples
        if s.exemplar
    }


def test_of_several_processes_the_latest_trace_of_each_bucket_is_shown():
    merged = snapshots.merge([traced("a", 0.5, 20), traced("b", 0.7, 30), traced("c", 0.6, 10)])
    assert examples(merged) == {"1.0": ("b", 0.7)}
    merged = snapshots.merge([merged, traced("d", 9, 40)])
    assert examples(merged) == {"1.0": ("b", 0.7), "+Inf": ("d", 9)}
    assert samples(merged)["seconds_bucket+Inf"] == 4


def test_only_openmetrics_has_a_place_for_traces():
    page = snapshots.exposition(traced("a", 0.5, 20)).decode()
    assert "trace_id" not in page
    assert "# EOF" not in page
