"""The whole way, with real processes: requests over every API in, verdicts and metrics out, and never an answer less."""

import concurrent.futures
import os
import resource
import signal
from collections.abc import Iterator
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

CANARY, SHADOW = "toy-canary", "toy-shadow"
EVERYTHING = {"monitor_cpu_share": "1", "observe_rows_per_s": "1000000"}
"""A slow machine observes all, too, and so does a front end that the kernel gives every connection."""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("repository")
    profiled.image(root)
    return root


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service for all who look at a model of their own: some of them have two versions, the first of which answers."""
    directory = tmp_path_factory.mktemp("observing")
    models = directory / "models"
    for name in ("toy-image", "toy-broken"):
        profiled.image(models, name=name)
    toys.text(models)
    for name in (CANARY, SHADOW):
        for version in (1, 2):
            profiled.image(models, version, name)
    first = {f"models__{name.replace('-', '_')}__version": "1" for name in (CANARY, SHADOW)}
    with live.serving(models, directory, **first, **EVERYTHING) as service:
        yield service.said


def send(
    url: str, rows: int, shift: float = 0.0, seed: int = 0, model: str = "toy-image", **body: Any
) -> list[str]:
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
            answer = client.post(f"/v2/models/{model}/infer", json={"inputs": [given], **body})
            assert answer.status_code == 200, answer.text
            ids.append(answer.headers["Prediction-Id"])
    return ids


def drift(url: str, model: str = "toy-image", **query: Any) -> dict[str, Any]:
    answer = httpx.get(f"{url}/v1/models/{model}/drift", params=query, timeout=60)
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
    url: str, repository: Path, tmp_path: Path
):
    image = profiled.pictures(np.random.default_rng(0), 1)
    given = [
        {"name": "image", "shape": image.shape, "datatype": "FP32", "data": image.ravel().tolist()}
    ]

    def answers(at: str) -> list[Any]:
        found = []
        for outputs in ([], [{"name": "logits"}], [{"name": "probabilities"}]):
            body = {"inputs": given, "outputs": outputs}
            answer = httpx.post(f"{at}/v2/models/toy-image/infer", json=body, timeout=60)
            found.append(answer.json()["outputs"])
        return found

    name = "inference_monitor_sampled_total"
    observed = answers(url)
    assert metric(url, name, model="toy-image") == 3
    with live.serving(repository, tmp_path, monitor="false") as service:
        assert answers(service.said) == observed
        assert "is off" in drift(service.said)["reason"]
        assert answers(service.said) == observed
        assert metric(service.said, name) == 0
    assert [[one["name"] for one in found] for found in observed] == [
        ["logits", "probabilities"],
        ["logits"],
        ["probabilities"],
    ]


def test_rows_of_every_api_and_front_end_come_into_one_window_and_survive_a_restart(
    repository: Path, tmp_path: Path
):
    observed = {"drift_window": "500"} | EVERYTHING
    with live.serving(repository, tmp_path, front_ends="2", **observed) as service:
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
    with live.serving(repository, tmp_path, **observed) as service:
        after = live.until(
            lambda: (told := drift(service.said))["samples"] == 500 and told, "the window"
        )
        same = ("verdict", "since", "samples", "waiting", "p", "signals", "windows")
        assert {key: after[key] for key in same} == {key: before[key] for key in same}


def test_without_a_profile_predictions_are_kept_and_the_verdict_says_why_there_is_none(url: str):
    model = f"{url}/v1/models/toy-text"
    answer = httpx.post(f"{model}/predict", json={"texts": ["good", "bad bad good"]}, timeout=60)
    told = drift(url, "toy-text")
    assert (told["verdict"], told["signals"]) == ("insufficient", [])
    assert "has no profile.json" in told["reason"]
    labels = [{"prediction_id": answer.json()["prediction_id"], "row": 1, "label": "negative"}]
    labelled = httpx.post(f"{model}/feedback", json={"labels": labels}, timeout=60)
    assert labelled.json()["accepted"] == 1


def test_a_shadow_is_not_observed(url: str):
    traffic = {"shadow": {"version": 2, "percent": 100}}
    answer = httpx.put(f"{url}/v1/models/{SHADOW}/traffic", json=traffic, timeout=60)
    assert answer.status_code == 200
    send(url, 60, model=SHADOW)
    live.until(
        lambda: metric(url, "inference_shadow_requests_total", model=SHADOW, status="ok") == 3,
        "the copies",
    )
    assert drift(url, SHADOW, version=1)["waiting"] + 50 == 60
    assert drift(url, SHADOW, version=2)["waiting"] == 0


def test_a_canary_is_observed_under_its_own_version(url: str):
    traffic = {"canary": {"version": 2, "percent": 100}}
    answer = httpx.put(f"{url}/v1/models/{CANARY}/traffic", json=traffic, timeout=60)
    assert answer.status_code == 200
    send(url, 40, model=CANARY)
    assert drift(url, CANARY, version=2)["waiting"] == 40
    assert drift(url, CANARY, version=1)["waiting"] == 0


def test_a_broken_sensor_is_a_fault_of_the_data_and_no_drift(url: str):
    for body in (b"no picture", b"\x89PNG\r\n\x1a\n damaged"):
        headers = {"Content-Type": "image/png"}
        predict = f"{url}/v1/models/toy-broken/predict"
        assert httpx.post(predict, content=body, headers=headers, timeout=60).status_code == 422
    head = b'{"inputs":[{"name":"image","shape":[1,1,4,4],"datatype":"FP32","parameters":{"binary_data_size":64}}]}'
    broken = httpx.post(
        f"{url}/v2/models/toy-broken/infer",
        content=head + np.full(16, np.nan, np.float32).tobytes(),
        headers={"Inference-Header-Content-Length": str(len(head))},
        timeout=60,
    )
    assert broken.status_code == 400
    told = drift(url, "toy-broken")
    assert told["inputs"]["invalid"] == {"not_finite": 1, "undecodable": 2}
    assert (told["inputs"]["share"], told["verdict"]) == (1.0, "insufficient")
    name = "inference_invalid_inputs_total"
    assert metric(url, name, model="toy-broken", reason="undecodable") == 2


def test_answers_go_on_while_the_ledger_is_away_and_so_do_verdicts(
    repository: Path, tmp_path: Path
):
    away = "postgresql://nobody:nothing@127.0.0.1:1/nothing"
    told = {"ledger_url": away, "drift_window": "200"} | EVERYTHING
    with live.serving(repository, tmp_path, **told) as service:
        send(service.said, 200)
        url = f"{service.said}/metrics"
        assert httpx.get(url, timeout=60).status_code == 200
        live.until(
            lambda: (
                metric(service.said, "inference_drift_window_samples", model="toy-image") == 200
            ),
            "a verdict",
        )


def test_while_the_ledger_cannot_be_written_labels_are_refused_and_what_was_observed_waits(
    repository: Path, tmp_path: Path
):
    with live.serving(repository, tmp_path, drift_window="200", **EVERYTHING) as service:
        live.until(lambda: "curl" in service.output.read_text(), "all that it prints")
        pid, kind = service.process.pid, resource.RLIMIT_FSIZE
        limits = resource.prlimit(pid, kind)
        resource.prlimit(pid, kind, (0, limits[1]))  # as if the disk was full
        (*_, last) = send(service.said, 200)
        order = {"labels": [{"prediction_id": last, "label": "light"}]}
        feedback = f"{service.said}/v1/models/toy-image/feedback"
        prediction = f"{service.said}/v1/predictions/{last}"
        refused = [httpx.post(feedback, json=order), httpx.delete(prediction)]
        assert [one.status_code for one in refused] == [503, 503]
        assert all("Retry-After" in one.headers for one in refused)
        assert drift(service.said)["samples"] == 200
        assert metric(service.said, "inference_ledger_away") == 1
        assert metric(service.said, "inference_ledger_waiting_records", kind="predictions") == 200
        resource.prlimit(pid, kind, limits)
        live.until(lambda: metric(service.said, "inference_ledger_away") == 0, "the ledger")
        assert httpx.post(feedback, json=order).json()["accepted"] == 1
        assert httpx.delete(prediction).status_code == 204


def test_what_a_front_end_observed_before_it_was_told_to_end_is_kept(
    repository: Path, tmp_path: Path
):
    with live.serving(repository, tmp_path, **EVERYTHING) as service:
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
