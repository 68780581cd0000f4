"""Ratios within a round, medians over rounds, and the lines of the judgement."""

from typing import Any

import pytest

from loadtests.compare import results, verdicts
from loadtests.compare.results import Limit, Measurement, Results, Verdict


def measured(server: str, per_second: float, **changed: Any) -> Measurement:
    given = {
        "round": 1,
        "model": "fashion-cnn",
        "variant": "fp32",
        "server": server,
        "batching": True,
        "concurrency": 32,
        "requests": 1000,
        "failures": 0,
        "per_second": per_second,
        "p50_ms": 5.0,
        "p99_ms": 10.0,
        "cpu_s_per_1000": 0.5,
        "memory_mib": 100.0,
    }
    return Measurement(**(given | changed))


def found(measurements: list[Measurement], limits: list[Limit] | None = None) -> Results:
    return Results(
        date="2026-01-01",
        machine={},
        options={},
        versions={},
        measurements=measurements,
        limits=limits or [],
    )


def verdict(of: Results, what: str) -> Verdict:
    (one,) = [one for one in verdicts.judged(of) if one.what.startswith(what)]
    return one


def test_rounds_are_never_mixed() -> None:
    """The machine was ten times slower in round 2; its ratio counts like the others."""
    given = [
        measured("evergreen", 300, round=1),
        measured("mosec", 100, round=1),
        measured("evergreen", 20, round=2),
        measured("mosec", 10, round=2),
        measured("evergreen", 250, round=3),
        measured("mosec", 100, round=3),
    ]
    one = verdict(found(given), "CNN, fp32, requests/s against the best peer, c=32")
    assert one.rounds == [3.0, 2.0, 2.5]
    assert one.value == 2.5
    assert one.met is True


def test_the_best_peer_is_that_of_the_round() -> None:
    given = [measured("evergreen", 300), measured("mosec", 150), measured("pytriton", 200)]
    one = verdict(found(given), "CNN, fp32, requests/s against the best peer, c=32")
    assert one.value == 1.5
    assert one.against == "pytriton fp32"


def test_a_server_that_refuses_load_is_not_the_best_peer() -> None:
    given = [
        measured("evergreen", 300),
        measured("mosec", 150),
        measured("pytriton", 900, failures=20),
    ]
    assert verdict(found(given), "CNN, fp32, requests/s against the best peer, c=32").value == 2


def test_p99_is_compared_with_that_of_the_fastest_peer() -> None:
    given = [measured("evergreen", 300, p99_ms=20.0), measured("mosec", 150, p99_ms=15.0)]
    one = verdict(found(given), "CNN, fp32, best peer's p99 over ours, c=32")
    assert one.value == 0.75
    assert one.met is False


def test_each_server_takes_the_file_that_it_runs_fastest() -> None:
    given = [
        measured("evergreen", 300),
        measured("evergreen", 280, variant="int8"),
        measured("mosec", 100),
        measured("mosec", 200, variant="int8"),
    ]
    one = verdict(found(given), "CNN, each with its fastest file, c=32")
    assert one.value == 1.5
    assert one.against == "mosec int8"


def test_nothing_is_said_of_the_fastest_file_where_only_one_was_measured() -> None:
    given = [measured("evergreen", 300), measured("mosec", 100)]
    assert verdict(found(given), "CNN, each with its fastest file, c=32").value is None


def test_the_transformer_is_judged_with_batching_on_and_at_the_best_setting() -> None:
    text = {"model": "sentiment-transformer"}
    given = [
        measured("evergreen", 130, **text),
        measured("mosec", 100, **text),
        measured("mosec", 125, batching=False, **text),
    ]
    of = found(given)
    assert verdict(of, "Transformer, fp32, batching on").value == 1.3
    best = verdict(of, "Transformer, fp32, best setting")
    assert best.value == pytest.approx(1.04)
    assert best.against == "mosec fp32 without batching"


def test_added_latency_is_taken_from_one_row_of_the_same_round() -> None:
    given = [
        measured("evergreen", 900, concurrency=1, p50_ms=1.0),
        measured("evergreen", 900, concurrency=1, p50_ms=2.0, round=2),
    ]
    common = {"model": "fashion-cnn", "variant": "fp32", "rows_per_second": 1.0}
    limits = [
        Limit(round=1, batch=1, p50_ms=0.6, **common),
        Limit(round=1, batch=8, p50_ms=0.1, **common),
        Limit(round=2, batch=1, p50_ms=1.2, **common),
    ]
    one = verdict(found(given, limits), "CNN, fp32, p50 added")
    assert one.rounds == pytest.approx([0.4, 0.8])
    assert one.value == pytest.approx(0.6)


def test_at_most_is_met_from_below() -> None:
    assert Verdict(what="x", target=0.6, value=0.5, at_most=True).met is True
    assert Verdict(what="x", target=0.6, value=0.7, at_most=True).met is False
    assert Verdict(what="x", target=0.6, value=None, at_most=True).met is None


def test_a_line_that_cannot_be_known_says_so() -> None:
    one = verdict(
        found([measured("evergreen", 300)]), "CNN, fp32, requests/s against the best peer, c=32"
    )
    assert "not measured" in verdicts.line(one)


def test_models_that_were_not_asked_for_are_not_judged() -> None:
    given = found([measured("evergreen", 300), measured("mosec", 100)])
    assert {one.what.partition(",")[0] for one in verdicts.judged(given)} == {"CNN"}


def test_results_are_read_as_they_were_written() -> None:
    given = found([measured("evergreen", 300)])
    given.verdicts = verdicts.judged(given)
    assert results.read(results.write(given)) == given
