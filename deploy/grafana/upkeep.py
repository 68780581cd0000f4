"""What it costs to know, and whether it is written down: the end of the dashboard of models."""

from deploy.grafana.panels import GREEN, RED, Panel, Table
from deploy.grafana.promql import RATE, rate

SECTIONS: dict[str, tuple[Panel | Table, ...]] = {
    "What it costs to know": (
        Panel(
            "Share that is observed",
            "1: every request. It is halved while observing takes more than its part of a core, or there are very many rows.",
            (("min by (instance) (inference_monitor_sampling_ratio)", "{{instance}}"),),
            unit="percentunit",
            most=1,
        ),
        Panel(
            "Rows observed and dropped",
            "Per second. Dropped: they were to be observed, and control heard nothing of them.",
            (
                (rate("inference_monitor_sampled_total"), "{{model}} observed"),
                (rate("inference_monitor_dropped_total"), "{{model}} dropped"),
            ),
            unit="rowsps",
        ),
        Panel(
            "CPU of observing",
            "Cores, beside requests. 0.01 is what it may take in a front end.",
            ((rate("inference_monitor_cpu_seconds_total"), "{{model}}"),),
        ),
        Panel(
            "Ledger",
            "Away: it cannot be written, because of a full disk or a server that is gone. Answers go on; labels are refused until it is back.",
            (("max by (instance) (inference_ledger_away)", "{{instance}}"),),
            kind="states",
            words={0: ("written", GREEN), 1: ("away", RED)},
        ),
        Panel(
            "Records written and dropped",
            "Per second. Dropped: the ledger was away for so long that there was no room.",
            (
                (
                    f"sum by (kind, outcome) (rate(inference_ledger_records_total{RATE}))",
                    "{{kind}} {{outcome}}",
                ),
            ),
        ),
        Panel(
            "Records that wait",
            "A second's worth, unless the ledger is away or slow.",
            (("sum by (kind) (inference_ledger_waiting_records)", "{{kind}}"),),
        ),
    ),
}
