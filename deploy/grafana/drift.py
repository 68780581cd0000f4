"""Writes drift.json, the Grafana dashboard of the traffic, beside itself.

    python deploy/grafana/drift.py

It is read from the top: did the traffic move, what moved, does it hurt, what came in, and what does it cost to know. Indices of an hour come
from the recording rules in deploy/prometheus/rules.yml; everything else from the service.
"""

from pathlib import Path

from build import (
    NAMED_TILES,
    PICK,
    RATE,
    Panel,
    Sections,
    dashboard,
    or_nothing,
    quantile,
    rate,
    write,
)

TARGET = Path(__file__).with_name("drift.json")
SCORE = 'inference_signal_drift_score{{model=~"$model", method="{}"}}'
VALUE = 'inference_labelled_accuracy_ratio{model=~"$model", bound="value"}'
OBSERVED = rate("inference_monitor_sampled_total", "model")
DROPPED = rate("inference_monitor_dropped_total", "model")
VERSION = "{{model}}/{{version}}"


def top(query: str) -> str:
    """The five largest of all signals, the same on every machine."""
    return f"topk(5, max by (model, version, signal) ({query}))"


SECTIONS: Sections = {
    "Did the traffic move": (
        Panel(
            "Verdict",
            "What the last windows come to. insufficient: there were too few rows, or the version has no profile.",
            (
                (
                    or_nothing(
                        f"max by (model, version, verdict) (inference_drift_verdict{PICK}) == 1"
                    ),
                    f"{VERSION} {{{{verdict}}}}",
                ),
            ),
            kind="stat",
            width=6,
            options=NAMED_TILES,
        ),
        Panel(
            "Drift by kind",
            "1 while two of the last three windows were further from the profile than one in a thousand without drift.",
            (
                (
                    or_nothing(f"max by (model, version, kind) (inference_drift_detected{PICK})"),
                    f"{VERSION} {{{{kind}}}}",
                ),
            ),
            kind="stat",
            width=6,
            options=NAMED_TILES,
        ),
        Panel(
            "Rows in a window",
            "They grow to the wanted size as rows come in. 0: there were too few, or the version has no profile.",
            (
                (
                    or_nothing(f"max by (model, version) (inference_drift_window_samples{PICK})"),
                    VERSION,
                ),
            ),
            width=4,
        ),
        Panel(
            "Since the last window",
            "Its age. A window takes as long as its rows take to come.",
            (
                (
                    or_nothing(
                        f"time() - max by (model, version) (inference_drift_last_evaluation_timestamp_seconds{PICK})"
                    ),
                    VERSION,
                ),
            ),
            unit="s",
            width=4,
        ),
        Panel(
            "How unusual the last hour is",
            "Deviations of the index above what so many rows give without drift, over all machines. Above 6 for a quarter of an hour it alerts.",
            (
                (
                    or_nothing('topk(5, model_signal:psi_z:1h{model=~"$model"})'),
                    "{{model}} {{signal}}",
                ),
            ),
            width=4,
        ),
    ),
    "What moved": (
        Panel(
            "Signals by chance",
            "How often a window without drift has some signal as far out: the smallest five. Below 0.05 the signal moved.",
            (
                (
                    or_nothing(
                        f"bottomk(5, max by (model, version, signal) (inference_signal_drift_pvalue_ratio{PICK}))"
                    ),
                    "{{model}} {{signal}}",
                ),
            ),
            unit="percentunit",
            width=12,
        ),
        *(
            Panel(
                title,
                "The largest five of the last window. It is larger in smaller windows, drift or none.",
                ((or_nothing(top(SCORE.format(method))), "{{model}} {{signal}}"),),
                width=6,
            )
            for title, method in (
                ("Population stability index", "psi"),
                ("Kolmogorov-Smirnov", "ks"),
            )
        ),
        Panel(
            "Rows by signal and bin",
            "Per second. Beside the profile's shares it shows where the traffic went.",
            (
                (
                    or_nothing(
                        f"topk(10, {rate('inference_signal_bin_observations_total', 'model, signal, bin')})"
                    ),
                    "{{model}} {{signal}} {{bin}}",
                ),
            ),
            unit="rowsps",
            width=12,
        ),
        Panel(
            "The profile",
            "Its rows, and how many bins it has. A promotion brings another one.",
            (
                (
                    or_nothing(f"max by (model, version) (inference_signal_reference_rows{PICK})"),
                    f"{VERSION} rows",
                ),
                (
                    or_nothing(
                        f"count by (model, version) (max by (model, version, signal, bin) (inference_signal_reference_ratio{PICK}))"
                    ),
                    f"{VERSION} bins",
                ),
            ),
            width=12,
        ),
    ),
    "Does it hurt": (
        Panel(
            "Accuracy",
            "Estimated: from answers alone, blind to what labels mean today. Labelled: by labels that came back.",
            (
                (
                    or_nothing(
                        f"max by (model, version, method) (inference_estimated_accuracy_ratio{PICK})"
                    ),
                    f"{VERSION} estimated, {{{{method}}}}",
                ),
                (
                    or_nothing(f"max by (model, version, window) ({VALUE})"),
                    f"{VERSION} labelled, {{{{window}}}}",
                ),
            ),
            unit="percentunit",
        ),
        Panel(
            "Evidence of harm",
            "That the error exceeds what was promised and tolerated, as a natural logarithm. The alarm is at 4.6.",
            (
                (
                    or_nothing(f"max by (model, version) (inference_quality_evidence_log{PICK})"),
                    VERSION,
                ),
                (
                    or_nothing(f"max by (model, version) (inference_quality_harmful{PICK})"),
                    f"{VERSION} harmful",
                ),
            ),
        ),
        Panel(
            "Labels",
            "Per second by what became of them, and how many labelled rows there are.",
            (
                (
                    or_nothing(rate("inference_feedback_labels_total", "model, outcome")),
                    "{{model}} {{outcome}}",
                ),
                (
                    or_nothing(f"max by (model, version, window) (inference_labelled_rows{PICK})"),
                    f"{VERSION} rows, {{{{window}}}}",
                ),
            ),
        ),
        Panel(
            "Delay of labels",
            "Median, from a prediction to its label.",
            ((or_nothing(quantile(0.5, "inference_feedback_delay_seconds")), "{{model}}"),),
            unit="s",
        ),
    ),
    "What came in": (
        Panel(
            "Classes",
            "Predicted rows per second.",
            (
                (
                    or_nothing(rate("inference_predictions_total", "model, class")),
                    "{{model}} {{class}}",
                ),
            ),
            unit="rowsps",
        ),
        Panel(
            "Confidence, median",
            "The highest probability of a predicted row.",
            ((or_nothing(quantile(0.5, "inference_prediction_confidence_ratio")), "{{model}}"),),
            unit="percentunit",
        ),
        Panel(
            "Invalid inputs",
            "Requests per second that were refused for what was in them: a broken sensor or sender, which no training mends.",
            (
                (
                    or_nothing(rate("inference_invalid_inputs_total", "model, reason")),
                    "{{model}} {{reason}}",
                ),
            ),
            unit="reqps",
        ),
        Panel(
            "Image files by format",
            "Per second, over /v1.",
            (
                (
                    or_nothing(rate("inference_image_files_total", "model, format")),
                    "{{model}} {{format}}",
                ),
            ),
            unit="reqps",
            width=12,
        ),
        Panel(
            "Image files, median size",
            "Another camera or another compression shows here first.",
            ((or_nothing(quantile(0.5, "inference_image_file_bytes")), "{{model}}"),),
            unit="bytes",
            width=12,
        ),
    ),
    "What it costs to know": (
        Panel(
            "Share that is observed",
            "1: every request. It is halved while observing takes more than its part of a core, or there are very many rows.",
            (
                (
                    "min by (instance) (inference_monitor_sampling_ratio)",
                    "{{instance}}",
                ),
            ),
            unit="percentunit",
        ),
        Panel(
            "Rows observed and dropped",
            "Per second. Dropped: they were to be observed, and control heard nothing of them.",
            ((OBSERVED, "{{model}} observed"), (DROPPED, "{{model}} dropped")),
            unit="rowsps",
        ),
        Panel(
            "CPU of observing",
            "Cores, beside requests. 0.01 is what it may take in a front end.",
            ((rate("inference_monitor_cpu_seconds_total", "model"), "{{model}}"),),
        ),
        Panel(
            "Ledger away",
            "1 while it cannot be written: a full disk, a server that is gone. Answers go on; labels are refused until it is back.",
            (("max by (instance) (inference_ledger_away)", "{{instance}}"),),
            kind="stat",
            options=NAMED_TILES,
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


if __name__ == "__main__":
    write(TARGET, dashboard("drift", SECTIONS))
