"""The dashboard of the loop: it reads what is counted, and stands beside its generator as that writes it."""

import importlib
import json
import re
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service import snapshots
from service.retraining.metrics import RetrainingMetrics

GRAFANA = Path(__file__).parents[2] / "deploy" / "grafana"
DOCUMENT = json.loads((GRAFANA / "retraining.json").read_text())
PANELS = [panel for panel in DOCUMENT["panels"] if panel["type"] != "row"]


def test_it_is_what_its_generator_writes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(GRAFANA))
    made = importlib.import_module("retraining")
    assert made.dashboard("retraining", made.SECTIONS) == DOCUMENT


def test_it_reads_every_metric_of_retrainings_and_no_other():
    registry = CollectorRegistry()
    RetrainingMetrics(registry)
    counted = {
        f"{family.name}_total" if family.kind == "counter" else family.name
        for family in snapshots.snapshot(registry)
    }
    queries = [target["expr"] for panel in PANELS for target in panel["targets"]]
    read = {name for query in queries for name in re.findall(r"inference_\w+", query)}
    assert {re.sub("_(bucket|sum|count)$", "", name) for name in read} == counted
    assert all('{model=~"$model"}' in query for query in queries)


def test_a_row_of_panels_is_as_wide_as_the_page():
    tops = {panel["gridPos"]["y"] for panel in PANELS}
    for top in tops:
        assert sum(p["gridPos"]["w"] for p in PANELS if p["gridPos"]["y"] == top) == 24
