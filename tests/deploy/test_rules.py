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

from models.errors import EvergreenError
from models.profile import compare
from service.api.problems import STATUSES
from service.errors import ClientGone

RULES = CONFIG.with_name("rules.yml")
SCENES = sorted(CONFIG.parent.glob("*_test.yml"))
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


def fired(directory: Path, series: Series, name: str, *at: str) -> set[str]:
    """The signals for which the alert `name` fires, told by promtool's complaint that none was expected."""
    test = {
        "interval": "1m",
        "input_series": series,
        "alert_rule_test": [{"eval_time": one, "alertname": name, "exp_alerts": []} for one in at],
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


def alerts() -> dict[str, dict[str, Any]]:
    """Every alert that there is."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def told(scenes: dict[str, Any]) -> set[str]:
    """The alerts that are said to fire in a file of scenes."""
    return set(re.findall(r'alertname="(\w+)"', yaml.safe_dump(scenes)))


@pytest.mark.parametrize("scenes", SCENES, ids=lambda path: path.stem)
def test_in_each_scene_these_alerts_fire_and_no_others(scenes: Path):
    command = [program("promtool"), "test", "rules", str(scenes)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_scene_in_which_it_fires_and_says_what_to_do():
    by_profiles = {"ModelInputDrift"}  # its scenes are made of real rows, here
    assert (
        told([yaml.safe_load(path.read_text()) for path in SCENES]) == set(alerts()) - by_profiles
    )
    for rule in alerts().values():
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        assert rule["annotations"].keys() == {"summary", "description"}


def test_the_operators_page_names_every_alert_under_its_severity():
    page = (CONFIG.parents[1] / "monitoring.md").read_text()
    cells = [line.split("|")[2:4] for line in page.splitlines() if line.startswith("| ")]
    critical, other = (
        set(re.findall(r"\w+[a-z]\w+", cell)) for cell in map(" ".join, zip(*cells, strict=True))
    )
    for name, rule in alerts().items():
        assert name in (critical if rule["labels"]["severity"] == "critical" else other)


def test_the_sentences_of_alerts_have_figures_in_their_places(tmp_path: Path):
    scenes = yaml.safe_load(SCENES[-1].read_text())
    for scene in scenes["tests"]:
        at = max(one["eval_time"] for one in scene["promql_expr_test"])
        scene["promql_expr_test"] = []
        scene["alert_rule_test"] = [
            {"eval_time": at, "alertname": name, "exp_alerts": []} for name in alerts()
        ]
    path = tmp_path / "sentences.yml"
    path.write_text(yaml.safe_dump(scenes | {"rule_files": [str(RULES)]}))
    command = [program("promtool"), "test", "rules", str(path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert "Annotations" in said
    assert "error expanding" not in said
    assert "{{" not in said


def test_what_callers_do_wrong_burns_no_budget():
    """The list in the rules is that of the errors which are answered with a 4xx, or 501: known, and not done here."""
    (listed,) = re.findall(r'status!~"([^"]+)"', RULES.read_text())
    theirs = {"ok", "cancelled", "refused"} | {
        error.__name__ for error in descendants(EvergreenError) if is_the_callers(error)
    }
    assert set(listed.split("|")) == theirs


def descendants(kind: type[EvergreenError]) -> set[type[EvergreenError]]:
    return {one for child in kind.__subclasses__() for one in {child, *descendants(child)}}


def is_the_callers(kind: type[EvergreenError]) -> bool:
    """Whether such an error may end a request, and is its caller's fault."""
    status = next((status for known, status in STATUSES if issubclass(kind, known)), 500)
    return (
        kind.__module__ in ("models.errors", "service.errors")
        and (status < 500 or status == 501)
        and kind is not ClientGone
    )


def test_a_real_prometheus_comes_to_the_services_scores(tmp_path: Path):
    program("prometheus")
    repository = tmp_path / "repository"
    profiled.image(repository)
    everything = {"observe_rows_per_s": "100000", "monitor_cpu_share": "1"}
    with (
        serving(repository, tmp_path, drift_window="200", **everything) as service,
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
