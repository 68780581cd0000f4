"""Which version answers, and on what it runs: the end of the serving dashboard."""

from deploy.grafana.panels import GREEN, ORANGE, RED, Column, Panel, Table
from deploy.grafana.promql import (
    DURATION,
    PICK,
    REQUESTS,
    VERSION,
    highest,
    mean,
    or_nothing,
    or_zero,
    picked,
    quantile,
    rate,
)

BOTH = "model, version"
ASKED = rate(REQUESTS, BOTH)
FAILED = or_zero(rate(REQUESTS, BOTH, picked('status!="ok"')), ASKED)
AGREES = rate("inference_shadow_rows_total", BOTH, picked('agrees="true"'))

SECTIONS: dict[str, tuple[Panel | Table, ...]] = {
    "Which version answers": (
        Panel(
            "Requests by version",
            "Per second. A promotion moves all of a model's requests at once, a canary its share of clients.",
            ((ASKED, VERSION),),
            unit="reqps",
            kind="stack",
            width=6,
        ),
        Panel(
            "Canary and shadow",
            "Share of a model's requests that go to a canary, or are copied to a shadow.",
            (
                (
                    or_nothing(highest("inference_traffic_percent", "model, version, role")),
                    f"{VERSION} {{{{role}}}}",
                ),
            ),
            unit="percent",
            width=6,
        ),
        Panel(
            "Failed requests by version",
            "A canary that fails more of them than its limit, and more than the champion, is ended.",
            ((f"{FAILED} / ({ASKED} > 0)", VERSION),),
            unit="percentunit",
            width=6,
        ),
        Panel(
            "Latency p99 by version",
            "A canary is ended when it takes more than its limit, twice the champion's where none is set.",
            ((quantile(0.99, DURATION, BOTH), VERSION),),
            unit="s",
            width=6,
        ),
        Panel(
            "Shadow agrees",
            "Share of rows to which champion and shadow give the same label. Lower than between two trainings of one model: look before promoting.",
            (
                (
                    or_nothing(f"{AGREES} / ({rate('inference_shadow_rows_total', BOTH)} > 0)"),
                    VERSION,
                ),
            ),
            unit="percentunit",
            width=6,
            most=1,
        ),
        Panel(
            "Shadow's confidence",
            "Mean distance of the highest probabilities of champion and shadow.",
            ((or_nothing(mean("inference_shadow_confidence_difference", BOTH)), VERSION),),
            unit="percentunit",
            width=6,
        ),
        Panel(
            "Shadow's time",
            "Mean of queue and compute over the same requests. Copies run at the lowest priority.",
            (
                (
                    or_nothing(mean("inference_shadow_duration_seconds", f"{BOTH}, role")),
                    f"{VERSION} {{{{role}}}}",
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
                    or_nothing(rate("inference_shadow_requests_total", f"{BOTH}, status")),
                    f"{VERSION} {{{{status}}}}",
                ),
            ),
            unit="reqps",
            width=6,
        ),
    ),
    "On what it runs": (
        Table(
            "Devices",
            "The provider that really runs, beside the one that was asked for. Red: another one than was named.",
            ("model", "version"),
            (
                Column(
                    "runs on",
                    highest("inference_device_info", f"{BOTH}, requested, provider, variant"),
                    label="provider",
                ),
                Column(
                    "fell back",
                    highest("inference_device_fallback"),
                    words={0: ("no", GREEN), 1: ("yes", RED)},
                ),
                Column(
                    "engine started again",
                    f"sum by ({BOTH}) (inference_engine_restarts_total{PICK})",
                    steps=((1, ORANGE), (3, RED)),
                ),
            ),
            width=12,
            height=8,
        ),
        Panel(
            "Nodes by provider",
            "Where each node of the graph runs. Beside a GPU, a few on the CPU work out shapes; many mean that the GPU waits for it.",
            (
                (
                    highest("inference_device_nodes", f"{BOTH}, provider"),
                    f"{VERSION} on {{{{provider}}}}",
                ),
            ),
            width=6,
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
    ),
}
