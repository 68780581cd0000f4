"""The dashboards as files: as their generator writes them, about every metric that there is, and whole."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from panels import GRAFANA, panels, targets
from prometheus import CONFIG, program
from prometheus_client import CollectorRegistry

from deploy.grafana.boards import BOARDS, encoded
from service import metrics, snapshots, tallies
from service.ledger.ledger import Ledger
from service.ledger.metrics import LedgerMetrics
from service.ledger.writer import Writer
from service.monitoring.label_metrics import LabelMetrics
from service.monitoring.metrics import MonitorMetrics
from service.monitoring.tallies import ObserverTally
from service.refusals import Refusals
from service.retraining.metrics import RetrainingMetrics
from service.tracing.export import Export


def counted(writer: Writer) -> set[str]:
    """Every metric that the service exposes, by the name that samples of a counter or a gauge carry."""
    control, labels = metrics.ControlMetrics(), CollectorRegistry()
    control.registry.register(MonitorMetrics(lambda: (), lambda: 1.0))
    control.registry.register(LedgerMetrics(writer))
    LabelMetrics(labels)
    RetrainingMetrics(labels)
    front_end = tallies.FrontEndMetrics()
    front_end.registry.register(ObserverTally())
    front_end.registry.register(Refusals())
    front_end.registry.register(Export(InMemorySpanExporter()))
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


def read() -> set[str]:
    """Every metric that the dashboard reads, histograms by their own name."""
    names = {name for _, query, _ in targets() for name in re.findall(r"inference_\w+", query)}
    return {re.sub("_(bucket|sum|count)$", "", name) for name in names}


@pytest.mark.parametrize("name", BOARDS)
def test_dashboard_is_what_its_generator_writes(name: str) -> None:
    assert (GRAFANA / f"{name}.json").read_text() == encoded(name)


def test_every_panel_has_a_note_and_a_number_of_its_own() -> None:
    for name in BOARDS:
        found = json.loads((GRAFANA / f"{name}.json").read_text())["panels"]
        assert len({panel["id"] for panel in found}) == len(found)
        assert all(panel["description"] for panel in found if panel["type"] != "row")


async def test_dashboards_read_every_metric_that_is_counted_and_no_other(tmp_path: Path) -> None:
    ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    writer = Writer(ledger)
    assert read() == counted(writer)
    await writer.close()
    ledger.close()


@pytest.mark.parametrize("name", BOARDS)
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
        for found in re.findall(r"(inference_\w+)({[^}]*})?( offset)?", query)
    ]
    # What is compared with an hour ago is picked on its left.
    rest = {name for name, labels, ago in selectors if 'model=~"$model"' not in labels and not ago}
    assert rest == {
        "inference_front_ends",
        "inference_front_end_restarts_total",
        "inference_connections",
        "inference_token_requests_total",
        "inference_denied_requests_total",
        "inference_closed_connections_total",
        "inference_outdated_secrets",
        "inference_secret_reloads_total",
        "inference_trace_spans_total",
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
