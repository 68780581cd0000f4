"""The page, the picture and the program's options."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from loadtests.compare import __main__ as program
from loadtests.compare import load, plan, report, verdicts
from loadtests.compare.results import Absence, Limit, Measurement, Results


def measured(server: str, number: int, per_second: float, **changed: object) -> Measurement:
    given: dict[str, object] = {
        "round": number,
        "model": "activity-lstm",
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
        "memory_mib": 100.0 + number,
    }
    return Measurement(**(given | changed))  # type: ignore[arg-type]


@pytest.fixture
def results() -> Results:
    found = Results(
        date="2026-01-01",
        machine={"processor": "P", "cores": "2 cores"},
        options={"rounds": 3},
        versions={"mosec": {"mosec": "0.9.8"}},
        rows={"activity-lstm": "347 windows"},
        notes=["That file was trained here."],
        measurements=[
            *(measured("mosec", n, pace) for n, pace in ((1, 900.0), (2, 1000.0), (3, 3000.0))),
            measured("mosec", 1, 1500.0, batching=False),
            measured("evergreen", 1, 700.0, concurrency=1),
            measured("evergreen", 1, 800.0),
        ],
        limits=[
            Limit(
                round=n,
                model="activity-lstm",
                variant="fp32",
                batch=8,
                rows_per_second=pace,
                p50_ms=1.0,
            )
            for n, pace in ((1, 4000.0), (2, 5000.0), (3, 9000.0))
        ],
        absences=[
            Absence(
                server="mlserver",
                model="activity-lstm",
                variant="fp32",
                batching=True,
                reason="it mixes shapes up",
            )
        ],
    )
    found.verdicts = verdicts.judged(found)
    return found


def test_cells_are_medians_over_rounds_and_memory_is_the_highest(results: Results) -> None:
    row = next(line for line in report.markdown(results).splitlines() if "| mosec | on" in line)
    assert "1,000 (5.0, 10.0)" in row
    assert row.endswith("| 0.50 | 103 |")


def test_evergreen_comes_first_and_then_the_fastest(results: Results) -> None:
    assert report.ranked(results.measurements, 32) == [
        ("evergreen", True),
        ("mosec", False),
        ("mosec", True),
    ]


def test_what_was_not_measured_at_a_concurrency_is_an_empty_cell(results: Results) -> None:
    row = next(line for line in report.markdown(results).splitlines() if "| mosec | on" in line)
    assert row.split("|")[3].strip() == ""


def test_the_page_names_limits_absences_notes_versions_and_rows(results: Results) -> None:
    page = report.markdown(results)
    assert "5,000 rows/s at batch 8" in page
    assert "mlserver, activity-lstm, fp32, batching on: it mixes shapes up" in page
    assert "That file was trained here." in page
    assert "mosec 0.9.8" in page
    assert "347 windows" in page


def test_missed_targets_are_told_as_missed(results: Results) -> None:
    page = report.markdown(results)
    line = next(line for line in page.splitlines() if line.startswith("| LSTM, fp32, best setting"))
    assert "(missed)" in line


def test_failures_stand_in_the_cell() -> None:
    assert "7 failed" in report.cell([measured("mosec", 1, 10.0, failures=7)])


def test_the_picture_takes_the_better_of_batching_on_and_off(results: Results) -> None:
    own = [one for one in results.measurements if one.server == "mosec"]
    assert report.best(own) == 1500
    assert report.best([]) == 0


def test_the_picture_is_svg_and_the_same_each_time(results: Results) -> None:
    drawn = report.picture(results)
    assert ElementTree.fromstring(drawn).tag.endswith("svg")
    assert drawn == report.picture(results)


def test_only_a_whole_run_replaces_the_published_results(tmp_path: Path) -> None:
    assert program.parse([])[1] == program.PUBLISHED
    assert program.parse(["--full"])[1] == program.PUBLISHED
    assert program.parse(["--rounds", "1"])[1] != program.PUBLISHED
    assert program.parse(["--rounds", "1", "--to", str(tmp_path)])[1] == tmp_path


def test_options_choose_what_is_measured() -> None:
    arguments = ["--peers", "mosec,litserve", "--models", "fashion-cnn", "--seconds", "3"]
    options, _ = program.parse([*arguments, "--concurrencies", "1,8"])
    assert options.peers == ("mosec", "litserve")
    assert options.models == ("fashion-cnn",)
    assert options.concurrencies == (1, 8)
    assert plan.seconds(options, "fashion-cnn") == 3


def test_an_unknown_peer_is_refused_with_those_that_are_known(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        program.parse(["--peers", "torchserve"])
    assert "no torchserve; known: mosec" in capsys.readouterr().err


def test_without_wrk_nothing_is_started(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(load, "available", lambda: "wrk is not installed")
    assert program.main(["--rounds", "1"]) == 1
    assert "wrk is not installed" in capsys.readouterr().out
