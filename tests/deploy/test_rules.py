"""The recording rules give what the service itself works out, and alerts say what they should: asked of promtool and a real Prometheus."""

import re
import subprocess
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import profiled
import pytest
import yaml
from live import serving, until
from prometheus import CONFIG, program, scraping

from models.profile import compare

RULES = CONFIG.with_name("rules.yml")
MACHINES = 8
pytestmark = pytest.mark.system

Series = list[dict[str, str]]


def observed(rows: int, shift: float) -> tuple[Series, np.ndarray]:
    """What a Prometheus holds of eight machines that saw so many rows together, and their counts."""
    known = profiled.reference()
    bins = profiled.bins(profiled.pictures(np.random.default_rng(3), rows, shift))
    total = known.counts(bins)
    labels = 'model="toy-image",version="1"'
    series = [
        {"series": f"inference_signal_reference_rows{{{labels}}}", "values": f"{known.rows}x120"}
    ]
    for number, part in enumerate(np.array_split(bins, MACHINES)):
        counts = known.by_signal(known.counts(part))
        for signal, live in zip(known.signals, counts, strict=True):
            for bin_, (count, usual) in enumerate(zip(live, signal.counts, strict=True)):
                one = f'{labels},signal="{signal.name}",bin="{bin_}",instance="{number}"'
                name = "inference_signal_bin_observations_total"
                series.append({"series": f"{name}{{{one}}}", "values": f"0 {count}x120"})
                name, share = "inference_signal_reference_ratio", usual / known.rows
                series.append({"series": f"{name}{{{one}}}", "values": f"{share!r}x120"})
    return series, total


def check(directory: Path, *tests: dict[str, Any]) -> None:
    """Run promtool's own tests of the rules."""
    document = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": list(tests)}
    path = directory / "rules_test.yml"
    path.write_text(yaml.safe_dump(document))
    command = [program("promtool"), "test", "rules", str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def equals(query: str, value: float) -> dict[str, Any]:
    """promtool compares to the last digit, which is not the question."""
    sample = [{"labels": "{}", "value": 1}]
    expr = f"sum(abs({query} - {value!r}) < bool 1e-9)"
    return {"expr": expr, "eval_time": "30m", "exp_samples": sample}


@pytest.mark.parametrize("shift", [0.0, 0.1])
def test_the_index_of_all_machines_is_the_one_that_the_service_works_out(
    tmp_path: Path, shift: float
):
    series, total = observed(400, shift)
    reports = compare(profiled.reference(), total, 400).signals
    asked = [equals(f'model_signal:psi:1h{{signal="{one.name}"}}', one.psi) for one in reports]
    asked.append(equals('model_signal:rows:increase1h{signal="brightness"}', 400.0))
    check(tmp_path, {"interval": "1m", "input_series": series, "promql_expr_test": asked})


def alert(name: str, *labels: dict[str, str], at: str = "40m") -> dict[str, Any]:
    """An alert, and for which series it fires; for none without labels."""
    return {
        "eval_time": at,
        "alertname": name,
        "exp_alerts": [{"exp_labels": one} for one in labels],
    }


def fired(directory: Path, series: Series, name: str, *at: str) -> set[str]:
    """The signals for which the alert `name` fires, told by promtool's complaint that none was expected."""
    test = {
        "interval": "1m",
        "input_series": series,
        "alert_rule_test": [alert(name, at=one) for one in at],
    }
    document = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}
    path = directory / "fired.yml"
    path.write_text(yaml.safe_dump(document))
    command = [program("promtool"), "test", "rules", str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return set(re.findall(r'signal="(\w+)"', done.stdout + done.stderr))


def test_brighter_pictures_alert_by_brightness_and_usual_ones_not_at_all(tmp_path: Path):
    usual, _ = observed(1000, 0.0)
    brighter, _ = observed(1000, 0.1)
    assert fired(tmp_path, usual, "ModelInputDrift", "40m") == set()
    assert "brightness" in fired(tmp_path, brighter, "ModelInputDrift", "40m")
    assert (
        fired(tmp_path, brighter, "ModelInputDrift", "10m") == set()
    )  # not for fifteen minutes yet
    few, _ = observed(400, 0.1)
    assert fired(tmp_path, few, "ModelInputDrift", "40m") == set()


def series(name: str, values: str, **labels: str) -> dict[str, str]:
    told = {"model": "m", "version": "1"} | labels
    inside = ",".join(f'{key}="{value}"' for key, value in told.items())
    return {"series": f"{name}{{{inside}}}", "values": values}


def test_alerts_on_faults_harm_silence_and_drops(tmp_path: Path):
    rate = "0+100x200"
    given = [
        series("inference_drift_detected", "1x200", kind="input"),
        series("inference_drift_detected", "0x200", kind="output"),
        series("inference_quality_harmful", "1x200"),
        series("inference_requests_total", rate, status="ok"),
        series("inference_invalid_inputs_total", "0+3x200", reason="undecodable"),
        series("inference_predictions_total", "0+300x200", **{"class": "a"}),
        series("inference_feedback_labels_total", "5x200", outcome="correct"),
        series("inference_drift_last_evaluation_timestamp_seconds", "60x200"),
        series("inference_monitor_sampled_total", rate),
        series("inference_monitor_dropped_total", "0+50x200"),
        {"series": 'inference_ledger_away{instance="a"}', "values": "1x200"},
    ]
    model, version = {"model": "m"}, {"model": "m", "version": "1"}
    retrain = {"action": "retrain"}
    expected = {
        "ModelDrift": version | retrain | {"kind": "input", "severity": "warning"},
        "ModelAccuracyBelowTolerance": version | retrain | {"severity": "critical"},
        "ModelInputsInvalid": model | {"severity": "critical"},
        "ModelFeedbackStalled": model | {"severity": "info"},
        "ModelDriftMonitorStale": version | {"severity": "warning"},
        "ModelMonitorDrops": model | {"severity": "info"},
        "LedgerAway": {"instance": "a", "severity": "warning"},
    }
    document = yaml.safe_load(RULES.read_text())
    told = {
        rule["alert"]: rule
        for group in document["groups"]
        for rule in group["rules"]
        if "alert" in rule
    }
    assert set(told) == {*expected, "ModelInputDrift"}
    quiet = [
        one | {"values": "0x200"} if "total" not in one["series"] else one | {"values": rate}
        for one in given
        if not re.search("invalid|dropped|evaluation", one["series"])
    ]
    for name, labels in expected.items():
        assert fires(tmp_path, given, name, labels)
        assert not fires(tmp_path, quiet, name, labels)


def fires(directory: Path, given: Series, name: str, labels: dict[str, str]) -> bool:
    """Whether exactly this alert fires after three hours."""
    query = f'ALERTS{{alertname="{name}",alertstate="firing"}}'
    inside = ",".join(f'{key}="{value}"' for key, value in sorted(labels.items()))
    sample = {"labels": f'ALERTS{{alertname="{name}",alertstate="firing",{inside}}}', "value": 1}
    asked = {"expr": query, "eval_time": "180m", "exp_samples": [sample]}
    test = {"interval": "1m", "input_series": given, "promql_expr_test": [asked]}
    document = {"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [test]}
    path = directory / "fires.yml"
    path.write_text(yaml.safe_dump(document))
    command = [program("promtool"), "test", "rules", str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    got = done.stdout + done.stderr
    assert done.returncode == 0 or "got: nil" in got, got
    return done.returncode == 0


def test_a_real_prometheus_comes_to_the_services_scores(tmp_path: Path):
    program("prometheus")
    repository = tmp_path / "repository"
    profiled.image(repository)
    with (
        serving(repository, tmp_path, drift_window="200") as service,
        scraping(service.said, tmp_path) as prometheus,
        httpx.Client(base_url=service.said, timeout=60) as client,
    ):

        def ask(query: str) -> dict[str, float]:
            answer = client.get(f"{prometheus}/api/v1/query", params={"query": query})
            return {
                one["metric"].get("signal", ""): float(one["value"][1])
                for one in answer.json()["data"]["result"]
            }

        until(lambda: ask("sum(inference_signal_bin_observations_total)") == {"": 0.0}, "a scrape")
        images = profiled.pictures(np.random.default_rng(1), 200, 0.1)
        for begin in range(0, 200, 20):
            part = images[begin : begin + 20]
            given = {
                "name": "image",
                "shape": part.shape,
                "datatype": "FP32",
                "data": part.ravel().tolist(),
            }
            answer = client.post("/v2/models/toy-image/infer", json={"inputs": [given]})
            assert answer.status_code == 200, answer.text
        until(lambda: ask("inference_drift_window_samples") == {"": 200.0}, "a window")
        scores = ask('inference_signal_drift_score{method="psi"}')
        # An increase is extrapolated to the edge of its hour: a few rows more in every bin.
        close = pytest.approx(scores, rel=0.1, abs=0.005)
        assert len(scores) == len(profiled.reference().signals)
        until(lambda: ask("model_signal:psi:1h") == close, f"the index of {scores}")
