"""Which answers count as ONNX Runtime's, what a measurement holds, and that a failure of one server is no failure of the run."""

from typing import Any

import numpy as np
import pytest

from loadtests.compare import comparison, measure
from loadtests.compare.comparison import Comparison
from loadtests.compare.contenders import CONTENDERS
from loadtests.compare.errors import ROOT, NotMeasured, cleaned
from loadtests.compare.load import Load
from loadtests.compare.plan import LOOP, Options, Setup

EXPECTED = np.array([[0.9, 0.1], [0.2, 0.8]])
SETUP = Setup("fashion-cnn", "fp32", "mosec", True, (32,))


def difference(given: list[list[float]], *, independent: bool = True) -> str:
    return measure.difference(given, EXPECTED, independent=independent)


def test_equal_answers_are_right() -> None:
    assert difference([[0.9, 0.1], [0.2001, 0.7999]]) == ""


def test_answers_in_another_order_are_wrong() -> None:
    assert "2 of 2 answers differ" in difference([[0.2, 0.8], [0.9, 0.1]])


def test_not_a_number_is_wrong() -> None:
    assert "1 of 2 answers differ" in difference([[0.9, 0.1], [float("nan"), 0.8]])


def test_answers_of_another_size_are_wrong() -> None:
    assert "classes" in difference([[0.9, 0.1], [1.0]])


def test_dynamic_int8_may_differ_a_little() -> None:
    close = [[0.86, 0.14], [0.25, 0.75]]
    assert difference(close) != ""
    assert difference(close, independent=False) == ""


def test_dynamic_int8_may_not_differ_much_or_everywhere_or_in_its_labels() -> None:
    assert "differ" in difference([[0.5, 0.5], [0.2, 0.8]], independent=False)
    assert "on average" in difference([[0.8, 0.2], [0.3, 0.7]], independent=False)
    expected = np.array([[0.51, 0.49]])
    assert "labels" in measure.difference([[0.49, 0.51]], expected, independent=False)


def test_an_answer_without_probabilities_is_told() -> None:
    with pytest.raises(NotMeasured, match="no probabilities"):
        measure.probabilities(CONTENDERS["mosec"], {"error": "full"})


def test_cpu_is_told_per_thousand_requests() -> None:
    load = Load(500, 2_000_000, 5000, 9000, 0, 0, 0)
    found = measure.measurement(SETUP, 1, 32, load, (1.5, 80.0))
    assert found.cpu_s_per_1000 == 3
    assert (found.per_second, found.p50_ms, found.p99_ms) == (250, 5, 9)


def test_no_answer_at_all_is_no_measurement() -> None:
    with pytest.raises(NotMeasured, match="concurrency 32"):
        measure.measurement(SETUP, 1, 32, Load(0, 2_000_000, 0, 0, 0, 9, 9), (1.0, 1.0))


def test_reasons_hold_neither_addresses_nor_folders_of_this_machine() -> None:
    reason = f"ERROR in {ROOT}/x/y.py and /home/me/.cache/pip:\n see https://host.example/simple/a"
    assert cleaned(reason) == "ERROR in ./x/y.py and pip: see (address)"
    assert len(cleaned("word " * 200)) < 260


def test_a_server_that_cannot_be_measured_is_written_down_and_left_out_of_later_rounds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = Options(("fashion-cnn",), ("fp32",), ("mosec", "litserve"), (32,), rounds=2)
    run = Comparison(options, lambda text: None)
    run.subjects["fashion-cnn", "fp32"] = object()  # type: ignore[assignment]
    asked: list[tuple[int, str]] = []

    def server(setup: Setup, subject: Any, number: int, options: Options) -> list[Any]:
        asked.append((number, setup.server))
        if setup.server == "mosec":
            raise NotMeasured("it does not start")
        return []

    monkeypatch.setattr(measure, "server", server)
    monkeypatch.setattr(measure, "limits", lambda *_: [])
    for number, setup in run.steps():
        run.take(number, setup)
    assert sorted(asked) == [
        (1, "evergreen"),
        (1, "litserve"),
        (1, "mosec"),
        (2, "evergreen"),
        (2, "litserve"),
    ]
    (absence,) = run.results.absences
    assert absence.server == "mosec"
    assert absence.reason == "it does not start (round 1)"


def test_files_that_are_not_there_are_not_measured() -> None:
    run = Comparison(Options(rounds=1), lambda text: None)
    assert list(run.steps()) == []


def test_the_loop_goes_on_where_a_peer_was_given_up() -> None:
    run = Comparison(Options(("fashion-cnn",), ("fp32",), ("mosec",), rounds=1), lambda text: None)
    run.subjects["fashion-cnn", "fp32"] = object()  # type: ignore[assignment]
    run._given_up.add(("mosec",))
    assert {setup.server for _, setup in run.steps()} == {LOOP, "evergreen"}


def test_a_busy_machine_is_told() -> None:
    assert comparison.busy(0.1) == []
    assert "busy" in comparison.busy(2.5)[0]
