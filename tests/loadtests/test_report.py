"""A report is one file that shows what was recorded, and a summary with the same values."""

import base64
import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import recorded
from recorded import FINE, Second

from loadtests import plots
from loadtests.recording import Recording, Stage
from loadtests.report import SUMMARY, Verdict, number, page, pictures, summarised, write
from loadtests.thresholds import Limits


def verdict(**fields: object) -> Verdict:
    given = {
        "host": "http://127.0.0.1:8000",
        "api": "v1",
        "started": "2026-01-02T03:04:05Z",
        "limits": Limits(),
    }
    return Verdict(**(given | fields))  # type: ignore[arg-type]


def images(document: str) -> list[ElementTree.Element]:
    """The pictures inside a document, parsed."""
    found = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', document)
    return [ElementTree.fromstring(base64.b64decode(data)) for data in found]


@pytest.fixture(scope="module")
def spike() -> Recording:
    return recorded.spike(FINE, Second(latency_ms=80, shed=10), FINE)


def test_files_lie_in_a_folder_of_the_run_and_latest_leads_to_the_last(tmp_path: Path) -> None:
    write(tmp_path, recorded.steady(), verdict())
    path = write(tmp_path, recorded.steady(), verdict(started="2026-01-02T03:05:00Z"))
    assert path == tmp_path / "2026-01-02T030500Z-steady" / "report.html"
    assert path.is_file()
    assert (tmp_path / "latest").resolve() == path.parent
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "2026-01-02T030405Z-steady",
        "2026-01-02T030500Z-steady",
        "latest",
    ]


def test_report_needs_no_other_file(spike: Recording) -> None:
    document = page(spike, verdict())
    assert re.findall(r'(?:src|href)="(?!data:)[^"]*"', document) == []
    assert "<script" not in document
    assert len(images(document)) == len(pictures(spike)) == 4


def test_report_names_what_did_not_hold_and_escapes_it(spike: Recording) -> None:
    document = page(spike, verdict(violations=["<b>: p99 is 80 ms"], limits=Limits(p99_ms=50)))
    assert "<div class=failed>" in document
    assert "<li>&lt;b&gt;: p99 is 80 ms</li>" in document
    assert "p99 at most 50 ms" in document


def test_report_of_a_spike_tells_recovery_and_refusals(spike: Recording) -> None:
    document = page(spike, verdict(limits=Limits(max_shed_share=1)))
    assert "Recovery: within 1.0 s after the burst" in document
    assert "<td>burst, 40 users</td><td>880</td><td>0</td><td>80</td>" in document


def test_report_of_a_ramp_tells_the_knee_and_shows_it() -> None:
    run = recorded.ramp(Second(100), Second(102), Second(101))
    document = page(run, verdict())
    assert "kept up with 6 users: 200.0 requests/s" in document
    assert "less than 5% more" in document
    assert 'alt="Throughput against users; p99 against users"' in document


def test_summary_holds_the_same_values(tmp_path: Path, spike: Recording) -> None:
    path = write(tmp_path, spike, verdict(violations=["too slow"]))
    summary = json.loads((path.parent / SUMMARY).read_text())
    assert summary["passed"] is False
    assert summary["violations"] == ["too slow"]
    assert summary["models"]["cnn"]["requests"] == 2040
    assert summary["models"]["cnn"]["shed"] == 40
    assert summary["models"]["cnn"]["p50_ms"] == 10
    assert summary["models"]["cnn"]["p99_ms"] == 80
    assert summary["recovery"]["seconds"] == pytest.approx(1)
    assert summary["ramp"] is None
    assert [stage["users"] for stage in summary["stages"]] == [8, 40, 8, 8]
    series = summary["series"]
    assert series["users"] == [8] * 6 + [40] * 4 + [8] * 10
    assert series["models"]["cnn"]["shed"] == [0] * 6 + [10] * 4 + [0] * 10
    assert series["models"]["cnn"]["p99_ms"] == [10] * 6 + [80] * 4 + [10] * 10
    assert series["models"]["cnn"]["queue_ms"] == pytest.approx([1] * 6 + [8] * 4 + [1] * 10)


def test_where_the_time_goes_adds_up_to_the_mean_latency() -> None:
    run = recorded.steady(Second(latency_ms=20))
    figures = summarised(run, verdict())["models"]["cnn"]
    assert (figures.queue_ms, figures.compute_ms, figures.rest_ms) == pytest.approx((2, 10, 8))


def test_answers_without_timings_are_not_shown_as_if_they_took_none() -> None:
    run = recorded.steady(timed=False)
    assert plots.where_time_goes(run) is None
    assert summarised(run, verdict())["models"]["cnn"].queue_ms is None
    assert "<td>–</td><td>–</td><td>–</td></tr>" in page(run, verdict())


def test_run_without_failures_has_no_picture_of_them() -> None:
    assert plots.failures(recorded.steady()) is None
    assert plots.failures(recorded.steady(Second(failed=1))) is not None


def test_every_axis_has_a_title_and_a_unit(spike: Recording) -> None:
    for figure in [*pictures(spike), plots.knee(recorded.ramp(FINE, FINE).stages)]:
        assert all(axis.get_title() and axis.get_ylabel() for axis in figure.axes)
        assert figure.axes[-1].get_xlabel()


def test_latencies_far_apart_get_a_logarithmic_axis() -> None:
    calm = plots.latency(recorded.spike(FINE, Second(latency_ms=80), FINE))
    wild = plots.latency(recorded.spike(FINE, Second(latency_ms=2000), FINE))
    assert [axis.get_yscale() for axis in (*calm.axes, *wild.axes)] == ["linear"] * 2 + ["log"] * 2


def test_long_run_is_told_in_minutes() -> None:
    run = recorded.recording("soak", [(Stage("middle", 8, 1800), Second(answered=1))])
    figure = plots.throughput(run)
    figure.draw_without_rendering()
    axis = figure.axes[-1]
    assert axis.get_xlabel() == "minutes from the start"
    labels = [label.get_text() for label in axis.get_xticklabels()]
    assert [label for label in labels if 0 <= float(label) <= 30] == [
        f"{n}" for n in range(0, 31, 5)
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.12345, "0.123"), (12.34, "12.3"), (12345.0, "12,300")]
)
def test_numbers_have_three_figures(value: float | None, text: str) -> None:
    assert number(value) == text
