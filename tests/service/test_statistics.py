"""Statistics from counts: what perf_analyzer subtracts must be whole numbers that only grow and belong together."""

from service.snapshots import Family, merge, snapshot
from service.statistics import entry, model_statistics
from service.tallies import FrontEndMetrics


def front_end(answered: int, failed: int = 0, cancelled: int = 0, api: str = "v2") -> list[Family]:
    counts = FrontEndMetrics()
    tally = counts.of("m", 1, api)
    for outcome, times in (("ok", answered), ("InputError", failed), ("cancelled", cancelled)):
        for _ in range(times):
            tally.begin()
            tally.end(outcome)
            if outcome == "ok":
                tally.time(0.25, 1.0)
    return snapshot(counts.registry)


ENGINE = [
    Family(
        name,
        kind,
        "",
        [(sample, {"model": "m", "version": "1"}, value)],
    )
    for name, kind, sample, value in (
        ("q", "histogram", "inference_queue_duration_seconds_sum", 0.5),
        ("c", "histogram", "inference_compute_duration_seconds_count", 2.0),
        ("r", "counter", "inference_rows_total", 7.0),
    )
]


def test_front_ends_and_engines_are_added_up():
    page = merge([front_end(2, failed=3), front_end(1, cancelled=5, api="v1"), ENGINE])
    (found,) = model_statistics(page)
    assert (found["name"], found["version"]) == ("m", "1")
    assert (found["inference_count"], found["execution_count"]) == (7, 2)
    told = found["inference_stats"]
    assert told["success"] == {"count": 3, "ns": 3_000_000_000}
    assert told["fail"]["count"] == 3
    assert told["queue"] == {"count": 3, "ns": 500_000_000}
    assert told["compute_input"] == {"count": 3, "ns": 750_000_000}
    assert told["compute_infer"] == {"count": 3, "ns": 1_750_000_000}


def test_every_field_that_perf_analyzer_reads_is_there_even_of_nothing():
    told = entry("m", "1", {})["inference_stats"]
    assert set(told) == {
        "success",
        "fail",
        "queue",
        "compute_input",
        "compute_infer",
        "compute_output",
        "cache_hit",
        "cache_miss",
    }
    assert all(one == {"count": 0, "ns": 0} for one in told.values())
