"""Writes serving.json, the Grafana dashboard, beside itself: a table of panels reads better than a thousand lines of JSON.

    python deploy/grafana/build.py

An operator reads it from the top: is it up, is it fast, where does the time go, what is it waiting for, on what does it run.
Every query answers with a figure as soon as there is traffic. A panel that says "No data" on a calm day teaches people to ignore it,
so what counts misfortunes falls back to 0.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

TARGET = Path(__file__).with_name("serving.json")
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
ROW_WIDTH = 24

PICK = '{model=~"$model"}'
RATE = "[$__rate_interval]"

Query = tuple[str, str]
"""PromQL and the legend of its series."""


class Panel(NamedTuple):
    """One chart. `note` says what a reader should think when it moves."""

    title: str
    note: str
    queries: tuple[Query, ...]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    options: dict[str, Any] = {}  # noqa: RUF012 - read, never written


def rate(counter: str, by: str, pick: str = PICK) -> str:
    """Per second, summed over everything but `by`."""
    return f"sum by ({by}) (rate({counter}{pick}{RATE}))"


def quantile(share: float, histogram: str, by: str = "model") -> str:
    """A quantile estimated from a histogram's buckets."""
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', f'{by}, le')})"


def mean(histogram: str, by: str = "model") -> str:
    """The average of what a histogram observed."""
    return f"{rate(f'{histogram}_sum', by)} / {rate(f'{histogram}_count', by)}"


def above_none(histogram: str, by: str) -> str:
    """`mean`, without the series in which nothing was observed."""
    return f"{rate(f'{histogram}_sum', by)} / ({rate(f'{histogram}_count', by)} > 0)"


def or_zero(query: str, always: str) -> str:
    """`query`, and 0 for each model that is in `always` alone: a series of errors is born with the first error."""
    return f"({query} or 0 * {always})"


def or_nothing(query: str) -> str:
    """`query`, and one 0 while it is empty."""
    return f"{query} or on () vector(0)"


def stages(share: float) -> tuple[Query, ...]:
    """What a request passes through, in order."""
    return tuple(
        (quantile(share, f"inference_{stage}_duration_seconds"), f"{{{{model}}}} {stage}")
        for stage in ("decode", "queue", "compute")
    )


REQUESTS = "inference_requests_total"
DURATION = "inference_request_duration_seconds"
ANSWERED = rate(REQUESTS, "model")
FAILED = '{model=~"$model", status!="ok"}'
AGREES = '{model=~"$model", agrees="true"}'
PADDED = rate("inference_padded_elements_total", "model")
REAL = rate("inference_real_elements_total", "model")
LATEST = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
NAMED_TILES = {**LATEST, "textMode": "value_and_name", "colorMode": "background"}

Sections = dict[str, tuple[Panel, ...]]

SECTIONS: Sections = {
    "Does it answer": (
        Panel(
            "Model ready",
            "1 while a version answers. 0: it loads, failed, or its engine is being started again.",
            ((f"min by (model, version) (inference_model_ready{PICK})", "{{model}}/{{version}}"),),
            kind="stat",
            width=6,
            options=NAMED_TILES,
        ),
        Panel(
            "Front ends",
            "How many answer. One that ends is started again; a step in the restarts has its reason in the log.",
            (
                ("sum by (instance) (inference_front_ends)", "{{instance}} answer"),
                (
                    "sum by (instance) (inference_front_end_restarts_total)",
                    "{{instance}} started again",
                ),
            ),
            width=6,
        ),
        Panel(
            "Requests by outcome",
            "Answers per second: ok, or the name of the error.",
            ((rate(REQUESTS, "model, status"), "{{model}} {{status}}"),),
            unit="reqps",
            width=6,
        ),
        Panel(
            "Time of failures",
            "Seconds a second that requests took which failed: what callers waited for nothing.",
            ((rate("inference_failed_request_seconds_total", "model"), "{{model}}"),),
            width=6,
        ),
        Panel(
            "Last batch",
            "Seconds since a batch ended. It grows where nobody asks, and where nobody is answered.",
            (
                (
                    f"time() - (max by (model) (inference_last_batch_timestamp_seconds{PICK}) > 0)",
                    "{{model}}",
                ),
            ),
            unit="s",
            width=6,
        ),
        Panel(
            "Share of requests that failed",
            "Everything but ok, the callers' own mistakes (InputError, Malformed) included.",
            (
                (
                    f"{or_zero(rate(REQUESTS, 'model', FAILED), ANSWERED)} / clamp_min({ANSWERED}, 1e-9)",
                    "{{model}}",
                ),
            ),
            unit="percentunit",
            width=6,
        ),
    ),
    "How fast": tuple(
        Panel(
            f"Latency p{share * 100:.0f}",
            "From the complete body to the complete answer, successful requests.",
            ((quantile(share, DURATION), "{{model}}"),),
            unit="s",
        )
        for share in (0.5, 0.95, 0.99)
    ),
    "Where the time goes": (
        Panel(
            "Time by stage, median",
            "decode: body to tensors. queue: wait for a batch. compute: one run of a batch.",
            stages(0.5),
            unit="s",
            width=12,
        ),
        Panel(
            "Time by stage, p99",
            "A growing queue with a flat compute means more load than one engine takes.",
            stages(0.99),
            unit="s",
            width=12,
        ),
    ),
    "What waits, and how it is batched": (
        Panel(
            "In flight",
            "Requests accepted and not yet answered.",
            ((f"sum by (model) (inference_in_flight_requests{PICK})", "{{model}}"),),
            width=6,
        ),
        Panel(
            "Queue",
            "Rows that wait for their batch.",
            ((f"sum by (model) (inference_queue_rows{PICK})", "{{model}}"),),
            width=6,
        ),
        Panel(
            "Rows per batch",
            "1 means that nobody waits. At the cap, batching has nothing left to give.",
            (
                (mean("inference_batch_rows"), "{{model}} mean"),
                (quantile(0.95, "inference_batch_rows"), "{{model}} p95"),
            ),
            width=6,
        ),
        Panel(
            "Rows computed",
            "Per second; a request may hold several rows.",
            ((rate("inference_rows_total", "model"), "{{model}}"),),
            unit="rowsps",
            width=6,
        ),
        Panel(
            "Padding waste",
            "Share of computed elements that only fill a batch up. Narrower buckets lower it. 0 for models that pad nothing.",
            ((or_zero(f"1 - {REAL} / ({PADDED} > 0)", PADDED), "{{model}}"),),
            unit="percentunit",
            width=6,
        ),
        Panel(
            "Refused and cancelled",
            "Refused: queue_full, deadline or failed. Cancelled: the caller went away while queued or running.",
            (
                (
                    or_nothing(rate("inference_refused_requests_total", "model, reason")),
                    "{{model}} refused: {{reason}}",
                ),
                (
                    or_nothing(rate("inference_cancelled_requests_total", "model, stage")),
                    "{{model}} cancelled: {{stage}}",
                ),
            ),
            unit="reqps",
            width=6,
        ),
        Panel(
            "Batch cap",
            "The most rows in a batch by padded length, as measured at the first load. It sinks while memory is short and comes back slowly.",
            (
                (
                    f"max by (model, bucket) (inference_batch_cap_rows{PICK})",
                    "{{model}}: {{bucket}}",
                ),
            ),
            width=6,
        ),
        Panel(
            "Time of a batch by its rows",
            "Mean seconds of a run. Flat: more rows cost little, and batching pays. Rising in step with the rows: it does not.",
            (
                (
                    f"{rate('inference_batch_compute_seconds_total', 'model, rows')}"
                    f" / ({rate('inference_batches_total', 'model, rows')} > 0)",
                    "{{model}}: {{rows}} rows",
                ),
            ),
            unit="s",
            width=6,
        ),
        Panel(
            "Batches run in parts",
            "Per second: a batch failed or did not fit into memory, and its rows were run in smaller ones. One bad caller costs this much.",
            ((rate("inference_batch_splits_total", "model"), "{{model}}"),),
            unit="ops",
            width=6,
        ),
    ),
    "Which version answers": (
        Panel(
            "Requests by version",
            "Per second. A promotion moves all of a model's requests at once, a canary its share of clients.",
            ((rate(REQUESTS, "model, version"), "{{model}}/{{version}}"),),
            unit="reqps",
        ),
        Panel(
            "Latency p99 by version",
            "A canary is ended when it takes more than its limit, twice the champion's where none is set.",
            ((quantile(0.99, DURATION, "model, version"), "{{model}}/{{version}}"),),
            unit="s",
        ),
        Panel(
            "Canary and shadow",
            "Share of a model's requests that go to a canary, or are copied to a shadow.",
            (
                (
                    or_nothing(f"max by (model, version, role) (inference_traffic_percent{PICK})"),
                    "{{model}}/{{version}} {{role}}",
                ),
            ),
            unit="percent",
        ),
        Panel(
            "Shadow agrees",
            "Share of rows to which champion and shadow give the same label. Lower than between two trainings of one model: look before promoting.",
            (
                (
                    or_nothing(
                        f"{rate('inference_shadow_rows_total', 'model, version', AGREES)}"
                        f" / ({rate('inference_shadow_rows_total', 'model, version')} > 0)"
                    ),
                    "{{model}}/{{version}}",
                ),
            ),
            unit="percentunit",
            width=6,
        ),
        Panel(
            "Shadow's confidence",
            "Mean distance of the highest probabilities of champion and shadow.",
            (
                (
                    or_nothing(
                        above_none("inference_shadow_confidence_difference", "model, version")
                    ),
                    "{{model}}/{{version}}",
                ),
            ),
            unit="percentunit",
            width=6,
        ),
        Panel(
            "Shadow's time",
            "Mean of queue and compute over the same requests. Copies run at the lowest priority.",
            (
                (
                    or_nothing(
                        above_none("inference_shadow_duration_seconds", "model, version, role")
                    ),
                    "{{model}}/{{version}} {{role}}",
                ),
            ),
            unit="s",
            width=6,
        ),
        Panel(
            "Copies for a shadow",
            "Per second, by outcome. dropped: more were under way than a front end holds for nobody.",
            (
                (
                    or_nothing(rate("inference_shadow_requests_total", "model, version, status")),
                    "{{model}}/{{version}} {{status}}",
                ),
            ),
            unit="reqps",
            width=6,
        ),
    ),
    "On what it runs": (
        Panel(
            "Device and variant",
            "The provider that really runs, beside the one that was asked for.",
            (
                (
                    f"max by (model, version, requested, provider, variant) (inference_device_info{PICK})",
                    "{{model}}/{{version}}: {{variant}} on {{provider}}, {{requested}} asked for",
                ),
            ),
            kind="stat",
            width=8,
            options={**LATEST, "textMode": "name", "colorMode": "none"},
        ),
        Panel(
            "Nodes by provider",
            "Where each node of the graph runs. Beside a GPU, a few on the CPU work out shapes; many mean that the GPU waits for it.",
            (
                (
                    f"max by (model, version, provider) (inference_device_nodes{PICK})",
                    "{{model}}/{{version}} on {{provider}}",
                ),
            ),
            width=6,
        ),
        Panel(
            "Fell back",
            "1 where another provider runs than the one that was named.",
            (
                (
                    f"max by (model, version) (inference_device_fallback{PICK})",
                    "{{model}}/{{version}}",
                ),
            ),
            kind="stat",
            width=5,
            options=NAMED_TILES,
        ),
        Panel(
            "Engine restarts",
            "Engine processes started again since the service started. A step has its reason in the log.",
            ((f"sum by (model) (inference_engine_restarts_total{PICK})", "{{model}}"),),
            width=5,
        ),
    ),
}


def main() -> None:
    """Write the file that Grafana imports."""
    write(TARGET, dashboard("serving", SECTIONS))


def write(target: Path, document: dict[str, Any]) -> None:
    """A dashboard as a file."""
    target.write_text(json.dumps(document, indent=2) + "\n")


def dashboard(name: str, sections: Sections) -> dict[str, Any]:
    """The whole document."""
    return {
        "uid": f"evergreen-{name}",
        "title": f"Evergreen: {name}",
        "tags": ["evergreen"],
        "schemaVersion": 38,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "templating": {"list": [variable_datasource(), variable_model()]},
        "panels": layout(sections),
    }


def variable_datasource() -> dict[str, Any]:
    """Which Prometheus."""
    return {
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
    }


def variable_model() -> dict[str, Any]:
    """Which models; all by default."""
    query = "label_values(inference_model_ready, model)"
    everything = {"selected": True, "text": ["All"], "value": ["$__all"]}
    return {
        "name": "model",
        "label": "Model",
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": "models"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": everything,
    }


def layout(sections: Sections) -> list[dict[str, Any]]:
    """Panels from left to right, sections from top to bottom, ids in that order."""
    placed: list[dict[str, Any]] = []
    top = 0
    for title, panels in sections.items():
        place = {"x": 0, "y": top, "w": ROW_WIDTH, "h": 1}
        placed.append(
            {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": place}
        )
        top, left, height = top + 1, 0, 8
        for panel in panels:
            if left + panel.width > ROW_WIDTH:
                top, left = top + height, 0
            place = {"x": left, "y": top, "w": panel.width, "h": height}
            placed.append(chart(panel) | {"gridPos": place})
            left += panel.width
        top += height
    return [{"id": number, **panel} for number, panel in enumerate(placed, 1)]


def chart(panel: Panel) -> dict[str, Any]:
    """One panel as Grafana wants it, without its place."""
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.note,
        "datasource": SOURCE,
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": SOURCE, "expr": expr, "legendFormat": legend}
            for i, (expr, legend) in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": defaults(panel), "overrides": []},
        "options": panel.options,
    }


def defaults(panel: Panel) -> dict[str, Any]:
    """Unit, zero line and colours: a ready model is green, a fallback is red."""
    shown: dict[str, Any] = {"unit": panel.unit, "min": 0}
    if panel.options is NAMED_TILES:
        good_at_one = panel.title == "Model ready"
        colours = ("red", "green") if good_at_one else ("green", "red")
        steps = [{"color": colours[0], "value": None}, {"color": colours[1], "value": 1}]
        shown["thresholds"] = {"mode": "absolute", "steps": steps}
    return shown


if __name__ == "__main__":
    main()
