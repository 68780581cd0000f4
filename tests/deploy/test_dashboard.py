"""The dashboards' queries, asked of a real Prometheus that scrapes the real service under load, with drift, labels and a retraining."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import profiled
import pytest
import retrained
import toys
from live import serving, until
from panels import targets
from prometheus import program, scraping

from deploy.grafana.boards import BOARDS, encoded
from deploy.grafana.preview.asking import Prometheus, Span
from deploy.grafana.preview.page import drawn
from models import bundle
from service import examples

WINDOW = "10s"
SCRAPE_S = 2.5
"""Four of them are the window."""
AGO = "offset 5s"
"""A picture's last point may lie a step before its end: what is to be seen has been there for two."""
TOYS = ("toy-image", "toy-series", "toy-text")
JSON = "application/json"


def requests_of_toys(repository: Path) -> list[tuple[str, str, bytes, int]]:
    """(model, content type, body, expected status): good ones, and each caller's mistake once."""
    samples, _ = bundle.read_samples(repository / "toy-image" / "1")
    return [
        ("toy-image", "image/png", examples.png(samples["image"][0]), 200),
        ("toy-image", "image/png", b"no picture", 422),
        ("toy-series", JSON, json.dumps({"series": [[0.5, 1.0]] * 5}).encode(), 200),
        ("toy-series", JSON, b'{"series": [', 400),
        # Two lengths of one bucket: they share a batch, and the shorter is padded.
        (
            "toy-text",
            JSON,
            b'{"texts": ["good bad good bad good", "good bad good bad good bad"]}',
            200,
        ),
        ("toy-text", "text/plain", b"good", 415),
    ]


def load(client: httpx.Client, repository: Path) -> None:
    """One request of every sort."""
    for model, kind, body, status in requests_of_toys(repository):
        answer = client.post(
            f"/v1/models/{model}/predict", content=body, headers={"Content-Type": kind}
        )
        assert answer.status_code == status, answer.text


def asker(client: httpx.Client, prometheus: str) -> Callable[..., list[dict[str, Any]]]:
    """A function that runs a dashboard's query as of now or another time, its variables filled in as Grafana does."""

    def ask(query: str, at: float | None = None) -> list[dict[str, Any]]:
        filled = query.replace("$__rate_interval", WINDOW).replace("$model", ".+")
        asked = {"query": filled, "time": str(time.time() if at is None else at)}
        answer = client.get(f"{prometheus}/api/v1/query", params=asked)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]["result"]

    return ask


def watch(client: httpx.Client) -> None:
    """Enough pictures for a verdict, and a label."""
    images = profiled.pictures(np.random.default_rng(1), 60)
    given = {"name": "image", "shape": images.shape, "datatype": "FP32"}
    body = {"inputs": [given | {"data": images.ravel().tolist()}]}
    answer = client.post("/v2/models/toy-image/infer", json=body)
    assert answer.status_code == 200, answer.text
    label = {"prediction_id": answer.headers["Prediction-Id"], "label": "light"}
    answer = client.post("/v1/models/toy-image/feedback", json={"labels": [label]})
    assert answer.json()["accepted"] == 1


class Seen(NamedTuple):
    """What Prometheus answers to each query, and the panels without anything in a picture of each dashboard."""

    answers: dict[str, list[dict[str, Any]]]
    empty: dict[str, list[str]]


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """After load on every toy that spans several scrapes, drift, labels and a retraining."""
    program("prometheus")
    directory = tmp_path_factory.mktemp("dashboard")
    repository = directory / "repository"
    for make in (profiled.image, toys.series, toys.text):
        make(repository)
    trainer = retrained.Trainer(directory)
    everything = trainer.settings(observe_rows_per_s="100000", monitor_cpu_share="1")
    with (
        serving(repository, directory, **everything) as service,
        scraping(service.said, directory) as prometheus,
        retrained.Client(base_url=service.said, timeout=60) as client,
    ):
        ask, begun = asker(client, prometheus), time.time()

        def shown() -> bool:
            load(client, repository)
            watch(client)
            requests = f'rate(inference_requests_total{{model=~"$model"}}[$__rate_interval] {AGO})'
            rates = ask(f"sum by (model, status) ({requests}) > 0")
            judged = ask(f"inference_drift_window_samples {AGO} > 0")
            labelled = ask(f'inference_labelled_rows{{model="toy-image"}} {AGO} > 1')
            scored = ask(f"model_signal:psi_z:1h {AGO}")
            return len(rates) == 2 * len(TOYS) and bool(judged and labelled and scored)

        client.teach()
        client.until(client.began(), "succeeded")
        until(shown, "a rate of every model's answers and errors, a verdict and a label")
        shown_at = time.time()  # all queries are about one moment, however long they take
        answers = {query: ask(query, shown_at) for _, query, _ in targets()}
        with httpx.Client(base_url=prometheus, timeout=60) as asking:
            asked = Prometheus(asking, Span(begun, shown_at, SCRAPE_S))
            empty = {name: drawn(json.loads(encoded(name)), asked, str).empty for name in BOARDS}
    return Seen(answers, empty)


@pytest.fixture(scope="module")
def answers(seen: Seen) -> dict[str, list[dict[str, Any]]]:
    return seen.answers


@pytest.mark.system
@pytest.mark.parametrize("name", BOARDS)
def test_no_panel_of_a_picture_is_empty(seen: Seen, name: str) -> None:
    neither_profile_nor_label = {
        f"{title} of {toy}"
        for title in ("Signals", "Accuracy")
        for toy in TOYS
        if toy != "toy-image"
    }
    assert set(seen.empty[name]) <= neither_profile_nor_label


@pytest.mark.system
@pytest.mark.parametrize(("panel", "query", "legend"), targets())
def test_query_returns_figures_with_the_labels_of_its_legend(
    answers: dict[str, list[dict[str, Any]]], panel: str, query: str, legend: str
) -> None:
    series = answers[query]
    assert series, f"{panel} is empty"
    assert [s for s in series if s["value"][1] in ("NaN", "+Inf")] == []
    wanted = set(re.findall(r"{{(\w+)}}", legend))
    named = [s["metric"] for s in series if s["metric"]]
    assert [labels for labels in named if not wanted <= labels.keys()] == []
    assert named or "on () vector(0)" in query


RARE = 'ledger|labels_wanted|rollbacks|passed="false"'
"""What did not happen here, or is not told by model."""


@pytest.mark.system
@pytest.mark.parametrize(
    ("panel", "query"),
    [(panel, query) for panel, query, _ in targets("models") if not re.search(RARE, query)],
)
def test_the_dashboard_of_models_shows_what_happened(
    answers: dict[str, list[dict[str, Any]]], panel: str, query: str
) -> None:
    named = [s["metric"] for s in answers[query] if s["metric"]]
    assert named, f"{panel} shows nothing of models with profile, traffic, labels and a retraining"
    if "instance" not in named[0]:
        assert {"toy-image", "toy-text"} & {one.get("model", "toy-image") for one in named}


@pytest.mark.system
@pytest.mark.parametrize("title", ["Share of requests that failed", "Latency p99", "Rows computed"])
def test_load_shows_for_every_model(answers: dict[str, list[dict[str, Any]]], title: str) -> None:
    query = next(query for panel, query, _ in targets() if panel == title)
    busy = {s["metric"]["model"] for s in answers[query] if float(s["value"][1]) > 0}
    assert busy == set(TOYS)


@pytest.mark.system
def test_errors_are_named_by_their_outcome(answers: dict[str, list[dict[str, Any]]]) -> None:
    query = next(query for panel, query, _ in targets() if panel == "Requests by outcome")
    outcomes = {(s["metric"]["model"], s["metric"]["status"]) for s in answers[query]}
    assert outcomes == {(toy, "ok") for toy in TOYS} | {
        ("toy-image", "Undecodable"),
        ("toy-series", "Malformed"),
        ("toy-text", "UnsupportedMedia"),
    }


@pytest.mark.system
def test_padding_waste_is_a_share_and_pictures_pad_nothing(
    answers: dict[str, list[dict[str, Any]]],
) -> None:
    query = next(query for panel, query, _ in targets() if panel == "Padding waste")
    waste = {s["metric"]["model"]: float(s["value"][1]) for s in answers[query]}
    assert waste["toy-image"] == 0
    assert 0 < waste["toy-text"] < 1
