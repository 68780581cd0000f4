"""What the front end may load, and what it tells about itself."""

import importlib.metadata
import json
import subprocess
import sys
import uuid

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

import models
import service
from service.predictor import new_id


def test_the_front_end_imports_neither_torch_nor_onnxruntime():
    program = "import service.app, service.frontend, sys; print({'torch', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


def test_no_other_distribution_owns_our_package_names():
    owners = importlib.metadata.packages_distributions()
    for package in (service, models):
        assert set(owners.get(package.__name__, [])) <= {"evergreen-serving"}


def test_openapi_documents_every_route(url: str):
    paths = httpx.get(f"{url}/docs/openapi.json").json()["paths"]
    for path in (
        "/v1/models/{name}/predict",
        "/v1/models",
        "/v2/models/{name}/infer",
        "/v2/health/ready",
        "/metrics",
    ):
        assert path in paths
    assert "text/html" in httpx.get(f"{url}/docs").headers["Content-Type"]


def test_metrics_are_the_text_format_and_count_what_happened(url: str):
    def count(**labels: str) -> dict[str, float]:
        families = text_string_to_metric_families(httpx.get(f"{url}/metrics").text)
        chosen = [s for f in families for s in f.samples if labels.items() <= s.labels.items()]
        return {s.name: s.value for s in chosen if "le" not in s.labels}

    before = count(model="toy-text", version="1")
    refused = count(model="toy-text", status="InputError").get("inference_requests_total", 0)
    for text in ("good", "bad good"):
        assert (
            httpx.post(f"{url}/v1/models/toy-text/predict", json={"text": text}).status_code == 200
        )
    assert httpx.post(f"{url}/v1/models/toy-text/predict", json={"text": ""}).status_code == 422
    after = count(model="toy-text", version="1")
    for name in (
        "inference_request_duration_seconds_count",
        "inference_queue_duration_seconds_count",
        "inference_batch_rows_sum",
        "inference_rows_total",
    ):
        assert after[name] - before.get(name, 0) == 2, name
    assert count(model="toy-text", status="InputError")["inference_requests_total"] == refused + 1


def test_the_catalogue_says_what_runs_where(url: str):
    listed = {model["name"]: model for model in httpx.get(f"{url}/v1/models").json()}
    assert set(listed) == {"toy-image", "toy-series", "toy-text"}
    one = httpx.get(f"{url}/v1/models/toy-text").json()
    page_alone = dict.fromkeys(("drift", "retrainable", "retraining"))
    assert one | page_alone == listed["toy-text"]
    assert one["aliases"] == {"champion": 1}
    report = one["versions"][0]["report"]
    assert report["device"]["provider"] == "cpu"
    assert report["device"]["nodes"] == {"cpu": 6}
    assert httpx.get(f"{url}/v1/models/nobody").status_code == 404


def test_prediction_ids_are_unique_and_sorted_by_time():
    ids = [new_id() for _ in range(1000)]
    assert len(set(ids)) == 1000
    assert [uuid.UUID(one).version for one in ids[:3]] == [7, 7, 7]
    assert [one[:13] for one in ids] == sorted(one[:13] for one in ids)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["models"], "toy-series"),
        (["predict", "toy-text", "good good"], "positive"),
        (["predict", "toy-text", ""], "422"),
    ],
)
def test_the_command_line_answers_in_words(url: str, arguments: list[str], says: str):
    command = [
        sys.executable,
        "-c",
        "from service.cli import main; main()",
        *arguments,
        "--url",
        url,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert says in done.stdout + done.stderr


def test_log_lines_are_json_with_the_event_and_what_belongs_to_it():
    program = "from service import logs; import logging; logs.configure('info'); logging.getLogger('x').info('said %s', 'a', extra={'model': 'm'})"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    line = json.loads(done.stderr)
    assert (line["event"], line["model"], line["level"]) == ("said a", "m", "info")
