"""The dashboard's queries, asked of a real Prometheus that scrapes the real service."""

import importlib
import json
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import profiled
import pytest
import toys
from live import serving, until
from prometheus import CONFIG, program, scraping
from prometheus_client import CollectorRegistry

from models import bundle
from service import examples, metrics, snapshots, tallies
from service.ledger.ledger import Ledger
from service.ledger.metrics import LedgerMetrics
from service.ledger.writer import Writer
from service.monitoring.label_metrics import LabelMetrics
from service.monitoring.metrics import MonitorMetrics
from service.monitoring.tallies import ObserverTally

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
WINDOW = "10s"
TOYS = ("toy-image", "toy-series", "toy-text")
JSON = "application/json"


DASHBOARDS = ("serving", "drift")


def panels(name: str) -> list[dict[str, Any]]:
    document = json.loads((GRAFANA / f"{name}.json").read_text())
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def targets(*names: str) -> list[tuple[str, str, str]]:
    """(panel, query, legend) of every query on the dashboards with these names, on all without one."""
    return [
        (p["title"], t["expr"], t["legendFormat"])
        for name in names or DASHBOARDS
        for p in panels(name)
        for t in p["targets"]
    ]


def counted(writer: Writer) -> set[str]:
    """Every metric that the service exposes, by the name that samples of a counter or a gauge carry."""
    control, labels = metrics.ControlMetrics(), CollectorRegistry()
    control.registry.register(MonitorMetrics(lambda: (), lambda: 1.0))
    control.registry.register(LedgerMetrics(writer))
    LabelMetrics(labels)
    front_end = tallies.FrontEndMetrics()
    front_end.registry.register(ObserverTally())
    registries = (
        front_end.registry,
        metrics.EngineMetrics("m", 1).registry,
        control.registry,
        labels,
    )
    return {
        f"{family.name}_total" if family.kind == "counter" else family.name
        for registry in registries
        for family in snapshots.snapshot(registry)
    }


def drawn() -> set[str]:
    """Every metric that the dashboard reads, histograms by their own name."""
    names = {name for _, query, _ in targets() for name in re.findall(r"inference_\w+", query)}
    return {re.sub("_(bucket|sum|count)$", "", name) for name in names}


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


def asker(client: httpx.Client, prometheus: str) -> Callable[[str], list[dict[str, Any]]]:
    """A function that runs a dashboard's query, its variables filled in as Grafana does."""

    def ask(query: str) -> list[dict[str, Any]]:
        filled = query.replace("$__rate_interval", WINDOW).replace("$model", ".+")
        answer = client.get(f"{prometheus}/api/v1/query", params={"query": filled})
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


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """What Prometheus answers to each query, after load on every toy that spans several scrapes."""
    program("prometheus")
    directory = tmp_path_factory.mktemp("dashboard")
    repository = directory / "repository"
    for make in (profiled.image, toys.series, toys.text):
        make(repository)
    everything = {"observe_rows_per_s": "100000", "monitor_cpu_share": "1"}
    with (
        serving(repository, directory, **everything) as service,
        scraping(service.said, directory) as prometheus,
        httpx.Client(base_url=service.said, timeout=60) as client,
    ):
        ask = asker(client, prometheus)

        def seen() -> bool:
            load(client, repository)
            watch(client)
            each = 'sum by (model, status) (rate(inference_requests_total{model=~"$model"}[$__rate_interval]))'
            rates = ask(f"{each} > 0")
            judged = ask("inference_drift_window_samples > 0")
            labelled = ask("inference_labelled_rows > 1")
            scored = ask("model_signal:psi_z:1h")
            return len(rates) == 2 * len(TOYS) and bool(judged and labelled and scored)

        until(seen, "a rate of every model's answers and errors, a verdict and a label")
        yield {query: ask(query) for _, query, _ in targets()}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_dashboard_is_what_its_generator_writes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(GRAFANA))
    build = importlib.import_module("build")
    sections = importlib.import_module({"serving": "build", "drift": "drift"}[name]).SECTIONS
    document = json.loads((GRAFANA / f"{name}.json").read_text())
    assert document == build.dashboard(name, sections)


async def test_dashboards_read_every_metric_that_is_counted_and_no_other(tmp_path: Path) -> None:
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    writer = Writer(ledger)
    assert drawn() == counted(writer)
    await writer.close()
    ledger.close()


@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_do_not_overlap(name: str) -> None:
    cells = [
        (x, y)
        for panel in panels(name)
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_every_query_on_models_follows_the_model_that_is_picked() -> None:
    selectors = [
        found
        for _, query, _ in targets()
        for found in re.findall(r"(inference_\w+)({[^}]*})?", query)
    ]
    rest = {name for name, labels in selectors if 'model=~"$model"' not in labels}
    assert rest == {
        "inference_front_ends",
        "inference_front_end_restarts_total",
        "inference_monitor_sampling_ratio",
        "inference_ledger_away",
        "inference_ledger_records_total",
        "inference_ledger_waiting_records",
    }


@pytest.mark.system
def test_promtool_accepts_the_configuration() -> None:
    done = subprocess.run(
        [program("promtool"), "check", "config", str(CONFIG)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


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


@pytest.mark.system
@pytest.mark.parametrize(
    ("panel", "query"),
    [(panel, query) for panel, query, _ in targets("drift") if "ledger" not in query],
)
def test_the_drift_dashboard_shows_the_model_that_is_watched(
    answers: dict[str, list[dict[str, Any]]], panel: str, query: str
) -> None:
    named = [s["metric"] for s in answers[query] if s["metric"]]
    assert named, f"{panel} shows nothing of a model with a profile, traffic and labels"
    if "instance" not in named[0]:
        assert "toy-image" in {one["model"] for one in named}


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
