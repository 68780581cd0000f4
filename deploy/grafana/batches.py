"""What waits, and how it is batched: a part of the serving dashboard."""

from deploy.grafana.panels import Panel, Table
from deploy.grafana.promql import PICK, mean, or_nothing, or_zero, quantile, rate

PADDED, REAL = rate("inference_padded_elements_total"), rate("inference_real_elements_total")

SECTIONS: dict[str, tuple[Panel | Table, ...]] = {
    "What waits, and how it is batched": (
        Panel(
            "In flight",
            "Requests accepted and not yet answered.",
            ((f"sum by (model) (inference_in_flight_requests{PICK})", "{{model}}"),),
            width=6,
        ),
        Panel(
            "Queue",
            "Rows that wait for their batch, and the requests that they are of.",
            (
                (f"sum by (model) (inference_queue_rows{PICK})", "{{model}} rows"),
                (f"sum by (model) (inference_queue_requests{PICK})", "{{model}} requests"),
            ),
            width=6,
        ),
        Panel(
            "Engines busy",
            "Runs under way, on average. At the number of instances an engine has nothing left; then the queue grows.",
            ((rate("inference_compute_duration_seconds_sum"), "{{model}}"),),
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
            ((rate("inference_rows_total"), "{{model}}"),),
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
            "Batches run in parts",
            "Per second: a batch failed or did not fit into memory, and its rows were run in smaller ones. One bad caller costs this much.",
            ((rate("inference_batch_splits_total"), "{{model}}"),),
            unit="ops",
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
            width=12,
        ),
        Panel(
            "Time of a batch by its rows",
            "Mean seconds of a run. Flat: more rows cost little, and batching pays. A step at equal rows: the machine is slower, not the load greater.",
            (
                (
                    f"{rate('inference_batch_compute_seconds_total', 'model, rows')}"
                    f" / ({rate('inference_batches_total', 'model, rows')} > 0)",
                    "{{model}}: {{rows}} rows",
                ),
            ),
            unit="s",
            width=12,
        ),
    ),
}
