"""The front end's own counting gives what the client library's would."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram

from service.metrics import COMPUTE, LATENCY
from service.snapshots import snapshot
from service.tallies import FrontEndMetrics

LABELS = {"model": "m", "version": "1", "api": "v2"}


def values(registry: CollectorRegistry, name: str) -> dict[tuple, float]:
    return {
        (sample, tuple(sorted(labels.items()))): value
        for family in snapshot(registry)
        if family.name == name
        for sample, labels, value in family.samples
    }


@given(st.lists(st.one_of(st.sampled_from(COMPUTE), st.floats(0, 20))))
def test_a_tally_is_the_client_librarys_histogram(seconds: list[float]):
    ours, theirs = FrontEndMetrics(), CollectorRegistry()
    name = "inference_request_duration_seconds"
    histogram = Histogram(name, "", tuple(LABELS), buckets=LATENCY, registry=theirs)
    for value in seconds:
        ours.of("m", 1, "v2").time(0.0, value)
        histogram.labels(**LABELS).observe(value)
    if seconds:
        assert values(ours.registry, name) == values(theirs, name)


def test_requests_are_counted_by_outcome_and_while_they_are_under_way():
    metrics = FrontEndMetrics()
    tally = metrics.of("m", 1, "v2")
    for outcome in ("ok", "ok", "QueueFull"):
        tally.begin()
        tally.end(outcome)
    tally.begin()
    counts = values(metrics.registry, "inference_requests")
    found = {dict(key[1])["status"]: value for key, value in counts.items()}
    assert found == {"ok": 2, "QueueFull": 1}
    assert list(values(metrics.registry, "inference_in_flight_requests").values()) == [1]


def test_a_version_over_one_api_has_one_tally():
    metrics = FrontEndMetrics()
    assert metrics.of("m", 1, "v1") is metrics.of("m", 1, "v1")
    assert metrics.of("m", 1, "v1") is not metrics.of("m", 1, "v2")


def test_versions_that_are_not_loaded_are_forgotten_once_nobody_waits_for_them():
    metrics = FrontEndMetrics()
    for version in (1, 2, 3):
        metrics.of("m", version, "v1").begin()
        metrics.of_shadow("m", version).end("ok")
    metrics.of("m", 2, "v1").end("ok")
    metrics.keep({("m", 3)})
    names = ("inference_in_flight_requests", "inference_shadow_requests")
    left = [{dict(key[1])["version"] for key in values(metrics.registry, name)} for name in names]
    assert left == [{"1", "3"}, {"3"}]


def test_inputs_that_cannot_be_what_they_should_are_counted_by_model_and_reason():
    metrics = FrontEndMetrics()
    for outcome in ("ok", "ok", "Undecodable"):
        metrics.of("m", 1, "v1").begin()
        metrics.of("m", 1, "v1").end(outcome)
    metrics.refuse("m", "undecodable")
    assert metrics.intake() == {"m": (3, {"undecodable": 1})}
    counts = values(metrics.registry, "inference_invalid_inputs")
    assert [(dict(labels), count) for (_, labels), count in counts.items()] == [
        ({"model": "m", "reason": "undecodable"}, 1)
    ]
    metrics.keep(set())
    assert metrics.intake() == {}
    assert values(metrics.registry, "inference_invalid_inputs") == {}


def test_image_files_are_told_apart_by_their_first_bytes():
    metrics = FrontEndMetrics()
    for data in (b"\x89PNG\r\n", b"\xff\xd8\xff\xe0", b"RIFF....WEBP", b"GIF89a", b""):
        metrics.of_files("m").count(data)
    counts = values(metrics.registry, "inference_image_files")
    found = {dict(labels)["format"]: count for (_, labels), count in counts.items()}
    assert found == {"png": 1, "jpeg": 1, "webp": 1, "other": 2}
    sizes = values(metrics.registry, "inference_image_file_bytes")
    assert sizes["inference_image_file_bytes_count", (("model", "m"),)] == 5
