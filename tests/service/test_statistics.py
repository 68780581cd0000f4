"""Statistics from counts: what perf_analyzer subtracts must be whole numbers that only grow and belong together."""

from service.metrics import BatchTally, EngineMetrics
from service.snapshots import Family, Snapshot, Totals, merge, snapshot
from service.statistics import entry, model_statistics
from service.tallies import FrontEndMetrics


def front_end(answered: int, failed: int = 0, cancelled: int = 0, api: str = "v2") -> list[Family]:
    counts = FrontEndMetrics()
    tally = counts.of("m", 1, api)
    for outcome, times in (("ok", answered), ("InputError", failed), ("cancelled", cancelled)):
        for _ in range(times):
            tally.begin()
            if outcome == "ok":
                tally.end(outcome)
                tally.time(0.25, 1.0)
            else:
                tally.fail(outcome, 0.5)
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
    assert told["fail"] == {"count": 3, "ns": 1_500_000_000}
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


def engine(*batches: tuple[int, float, float]) -> Snapshot:
    counts = EngineMetrics("m", 1)
    for rows, seconds, now in batches:
        counts.batches.observe(rows, seconds, now)
    return snapshot(counts.registry)


def test_batches_are_told_by_their_size_and_when_the_last_one_was():
    page = merge([engine((1, 0.25, 100), (8, 0.5, 200.25)), engine((8, 1.0, 150))])
    (found,) = model_statistics(page)
    assert found["last_inference"] == 200_250
    nothing = {"ns": 0}
    assert found["batch_stats"] == [
        {
            "batch_size": rows,
            "compute_input": {"count": count} | nothing,
            "compute_infer": {"count": count, "ns": ns},
            "compute_output": {"count": count} | nothing,
        }
        for rows, count, ns in ((1, 1, 250_000_000), (8, 2, 1_500_000_000))
    ]


def test_callers_cannot_make_more_series_than_there_may_be():
    page = engine(*((rows, 1.0, 1.0) for rows in range(1, 1000)))
    (found,) = model_statistics(page)
    assert len(found["batch_stats"]) == BatchTally.MOST_SIZES


def test_when_something_last_happened_is_known_after_its_process_has_ended():
    totals = Totals()
    totals.update("a", engine((1, 1.0, 500.0)))
    totals.retire("a")
    totals.update("b", engine((1, 1.0, 400.0)))
    (found,) = model_statistics(totals.total())
    assert found["last_inference"] == 500_000
