"""The whole way, with real processes: requests over every API in, verdicts and metrics out, and never an answer less."""

import concurrent.futures
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import live
import numpy as np
import profiled
import pytest
import toys
from live import children

from service import examples


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    profiled.image(root)
    toys.text(root)
    return root


def send(url: str, rows: int, shift: float = 0.0, seed: int = 0, **body: Any) -> list[str]:
    """So many pictures over /v2, 20 a request; the predictions' ids."""
    rng, ids = np.random.default_rng(seed), []
    with httpx.Client(base_url=url, timeout=60) as client:
        for begin in range(0, rows, 20):
            images = profiled.pictures(rng, min(20, rows - begin), shift)
            given = {
                "name": "image",
                "shape": images.shape,
                "datatype": "FP32",
                "data": images.ravel().tolist(),
            }
            answer = client.post("/v2/models/toy-image/infer", json={"inputs": [given], **body})
            assert answer.status_code == 200, answer.text
            ids.append(answer.headers["Prediction-Id"])
    return ids


def drift(url: str, **query: Any) -> dict[str, Any]:
    answer = httpx.get(f"{url}/v1/models/toy-image/drift", params=query, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def metric(url: str, name: str, **labels: str) -> float:
    """The sum of the samples of `name` with these labels."""
    lines = httpx.get(f"{url}/metrics", timeout=60).text.splitlines()
    wanted = [f'{key}="{value}"' for key, value in labels.items()]
    return sum(
        float(line.rpartition(" ")[2])
        for line in lines
        if line.startswith((f"{name}{{", f"{name} ")) and all(one in line for one in wanted)
    )


def test_answers_are_what_was_asked_for_whether_or_not_they_are_observed(
    repository: Path, tmp_path: Path
):
    image = profiled.pictures(np.random.default_rng(0), 1)
    given = [
        {"name": "image", "shape": image.shape, "datatype": "FP32", "data": image.ravel().tolist()}
    ]
    answers = []
    for monitor in ("true", "false"):
        (tmp_path / monitor).mkdir()
        with live.serving(repository, tmp_path / monitor, monitor=monitor) as service:
            url = f"{service.said}/v2/models/toy-image/infer"
            for outputs in ([], [{"name": "logits"}], [{"name": "probabilities"}]):
                body = {"inputs": given, "outputs": outputs}
                answers.append(httpx.post(url, json=body, timeout=60).json()["outputs"])
            sampled = metric(service.said, "inference_monitor_sampled_total")
            assert sampled == (3 if monitor == "true" else 0)
    assert answers[:3] == answers[3:]
    assert [[one["name"] for one in found] for found in answers[:3]] == [
        ["logits", "probabilities"],
        ["logits"],
        ["probabilities"],
    ]


def test_rows_of_every_api_and_front_end_come_into_one_window_and_survive_a_restart(
    repository: Path, tmp_path: Path
):
    with live.serving(repository, tmp_path, front_ends="2") as service:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            # Every client has a connection of its own, which the kernel gives to either front end.
            list(pool.map(lambda seed: send(service.said, 140, 0.3, seed), range(4)))
        files = [
            ("file", examples.png(row))
            for row in profiled.pictures(np.random.default_rng(9), 3, 0.3)
        ]
        url = f"{service.said}/v1/models/toy-image/predict"
        assert httpx.post(url, files=files, timeout=60).status_code == 200
        before = drift(service.said)
        assert (before["verdict"], before["samples"], before["waiting"]) == ("drift", 500, 13)
        assert before["inputs"]["sampled"] == 563
        assert (
            metric(service.said, "inference_signal_bin_observations_total", signal="brightness")
            == 563
        )
        assert metric(service.said, "inference_predictions_total", model="toy-image") == 563
        assert metric(service.said, "inference_image_files_total", format="png") == 3
    with live.serving(repository, tmp_path) as service:
        after = live.until(
            lambda: (told := drift(service.said))["samples"] == 500 and told, "the window"
        )
        same = ("verdict", "since", "samples", "waiting", "p", "signals", "windows")
        assert {key: after[key] for key in same} == {key: before[key] for key in same}


def test_without_a_profile_predictions_are_kept_and_the_verdict_says_why_there_is_none(
    repository: Path, tmp_path: Path
):
    with live.serving(repository, tmp_path) as service:
        url = f"{service.said}/v1/models/toy-text"
        answer = httpx.post(f"{url}/predict", json={"texts": ["good", "bad bad good"]}, timeout=60)
        told = httpx.get(f"{url}/drift", timeout=60).json()
        assert (told["verdict"], told["signals"]) == ("insufficient", [])
        assert "has no profile.json" in told["reason"]
        labels = [{"prediction_id": answer.json()["prediction_id"], "row": 1, "label": "negative"}]
        labelled = httpx.post(f"{url}/feedback", json={"labels": labels}, timeout=60)
        assert labelled.json()["accepted"] == 1


def test_a_shadow_is_not_observed(repository: Path, tmp_path: Path):
    profiled.image(tmp_path / "two", version=1)
    profiled.image(tmp_path / "two", version=2)
    champion = {"models__toy_image__version": "1"}
    with live.serving(tmp_path / "two", tmp_path, **champion) as service:
        traffic = {"shadow": {"version": 2, "percent": 100}}
        url = f"{service.said}/v1/models/toy-image/traffic"
        assert httpx.put(url, json=traffic, timeout=60).status_code == 200
        send(service.said, 60)
        live.until(
            lambda: metric(service.said, "inference_shadow_requests_total", status="ok") == 3,
            "the copies",
        )
        assert drift(service.said, version=1)["waiting"] + 50 == 60
        assert drift(service.said, version=2)["waiting"] == 0


def test_a_canary_is_observed_under_its_own_version(repository: Path, tmp_path: Path):
    profiled.image(tmp_path / "two", version=1)
    profiled.image(tmp_path / "two", version=2)
    champion = {"models__toy_image__version": "1"}
    with live.serving(tmp_path / "two", tmp_path, **champion) as service:
        traffic = {"canary": {"version": 2, "percent": 100}}
        url = f"{service.said}/v1/models/toy-image/traffic"
        assert httpx.put(url, json=traffic, timeout=60).status_code == 200
        send(service.said, 40)
        assert drift(service.said, version=2)["waiting"] == 40
        assert drift(service.said, version=1)["waiting"] == 0


def test_a_broken_sensor_is_a_fault_of_the_data_and_no_drift(repository: Path, tmp_path: Path):
    with live.serving(repository, tmp_path) as service:
        url = f"{service.said}/v1/models/toy-image/predict"
        for body in (b"no picture", b"\x89PNG\r\n\x1a\n damaged"):
            headers = {"Content-Type": "image/png"}
            assert httpx.post(url, content=body, headers=headers, timeout=60).status_code == 422
        head = b'{"inputs":[{"name":"image","shape":[1,1,4,4],"datatype":"FP32","parameters":{"binary_data_size":64}}]}'
        broken = httpx.post(
            f"{service.said}/v2/models/toy-image/infer",
            content=head + np.full(16, np.nan, np.float32).tobytes(),
            headers={"Inference-Header-Content-Length": str(len(head))},
            timeout=60,
        )
        assert broken.status_code == 400
        told = drift(service.said)
        assert told["inputs"]["invalid"] == {"not_finite": 1, "undecodable": 2}
        assert (told["inputs"]["share"], told["verdict"]) == (1.0, "insufficient")
        name = "inference_invalid_inputs_total"
        assert metric(service.said, name, reason="undecodable") == 2


def test_answers_go_on_while_the_ledger_is_away_and_so_do_verdicts(
    repository: Path, tmp_path: Path
):
    away = "postgresql://nobody:nothing@127.0.0.1:1/nothing"
    with live.serving(repository, tmp_path, ledger_url=away) as service:
        send(service.said, 200)
        url = f"{service.said}/metrics"
        assert httpx.get(url, timeout=60).status_code == 200
        live.until(
            lambda: (
                metric(service.said, "inference_drift_window_samples", model="toy-image") == 200
            ),
            "a verdict",
        )


def test_what_a_front_end_observed_before_it_was_told_to_end_is_kept(
    repository: Path, tmp_path: Path
):
    with live.serving(repository, tmp_path) as service:
        send(service.said, 60)
        (front_end,) = children(service.process.pid, "service.frontend")
        os.kill(front_end, signal.SIGTERM)
        live.until(
            lambda: children(service.process.pid, "service.frontend") not in ([], [front_end]),
            "another",
        )
        live.until(lambda: answers(service.said), "an answer")
        assert drift(service.said)["waiting"] == 10


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/v2/health/ready", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False
