"""The load test itself, run by Locust as people run it, against a live service of toys under the real models' names."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import toys
from live import PATIENCE, serving

LOCUSTFILE = Path(__file__).parents[2] / "loadtests" / "locustfile.py"
MODELS = ("fashion-cnn", "activity-lstm", "sentiment-transformer")


class Run(NamedTuple):
    """What a run of Locust left: its exit code, its statistics by (method, name), and what it logged."""

    code: int
    stats: dict[tuple[str, str], dict[str, Any]]
    log: str


def locust(url: str, repository: Path, *options: str) -> Run:
    command = [
        *(sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--host", url),
        *("--headless", "--users", "6", "--spawn-rate", "6", "--run-time", "1s", "--json"),
        *("--repository", str(repository), *options),
    ]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=repository.parent,
        timeout=PATIENCE,
    )
    stats = json.loads(done.stdout or "[]")
    return Run(done.returncode, {(s["method"], s["name"]): s for s in stats}, done.stderr)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("load") / "repository"
    for make, name in zip((toys.image, toys.series, toys.text), MODELS, strict=True):
        make(root, name)
    return root


@pytest.fixture(scope="module")
def url(repository: Path) -> Iterator[str]:
    with serving(repository, repository.parent) as service:
        yield service.said


def test_every_model_is_loaded_and_nothing_fails(url: str, repository: Path) -> None:
    run = locust(url, repository)
    assert run.code == 0, run.log
    assert sum(entry["num_failures"] for entry in run.stats.values()) == 0
    assert {name for method, name in run.stats if method == "POST"} == set(MODELS)
    for model in MODELS:
        sent = run.stats["POST", model]["num_requests"]
        assert sent > 0
        assert run.stats["queue", model]["num_requests"] == sent
        assert run.stats["compute", model]["num_requests"] == sent


def test_p99_over_the_threshold_fails_the_run(url: str, repository: Path) -> None:
    run = locust(url, repository, "--p99-ms", "0.001")
    assert run.code == 1
    assert "at most 0.001 were asked for" in run.log


def test_model_that_is_not_served_gets_no_users(repository: Path, tmp_path: Path) -> None:
    toys.image(tmp_path / "served", "fashion-cnn")
    with serving(tmp_path / "served", tmp_path) as service:
        run = locust(service.said, repository)
    assert run.code == 0, run.log
    assert {name for _, name in run.stats} == {"fashion-cnn"}
    assert "activity-lstm is not served" in run.log


def test_answer_with_a_label_the_manifest_lacks_is_a_failure(url: str, tmp_path: Path) -> None:
    directory = toys.image(tmp_path / "other", "fashion-cnn")
    manifest = directory / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"dark"', '"dusk"'))
    for make, name in ((toys.series, MODELS[1]), (toys.text, MODELS[2])):
        make(tmp_path / "other", name)
    run = locust(url, tmp_path / "other")
    assert run.code == 1
    assert run.stats["POST", "fashion-cnn"]["num_failures"] > 0
    assert "'dark' is no label of the model" in run.log


def test_served_model_without_samples_fails_the_run(url: str, tmp_path: Path) -> None:
    toys.image(tmp_path / "partial", "fashion-cnn")
    run = locust(url, tmp_path / "partial")
    assert run.code == 1
    assert "activity-lstm" in run.log


def test_run_against_nothing_fails(repository: Path) -> None:
    run = locust("http://127.0.0.1:9", repository)
    assert run.code == 1
    assert "no request was sent" in run.log
