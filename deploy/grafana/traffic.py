"""Did the traffic move, and what moved: the head of the dashboard of models. And what came in."""

from deploy.grafana.panels import GREEN, GREY, ORANGE, RED, Column, Panel, Table
from deploy.grafana.promql import (
    PICK,
    VERSION,
    highest,
    of_answering,
    or_nothing,
    picked,
    quantile,
    rate,
)

SIGNAL = "model, version, signal"
CHANCE = highest("inference_signal_drift_pvalue_ratio", SIGNAL)
MOVED = f"bottomk by (model) (3, {CHANCE})"
SCORE = "inference_signal_drift_score"
VERDICTS = {
    0: ("too few rows", GREY),
    1: ("quiet", GREEN),
    2: ("watch", ORANGE),
    3: ("drift", RED),
}
HARM = {0: ("no", GREEN), 1: ("yes", RED)}


def score(method: str) -> str:
    """How far the signals that moved most are from the profile."""
    found = highest(SCORE, SIGNAL, picked(f'method="{method}"'))
    return f"{found} and on (model, version, signal) {MOVED}"


def verdict() -> str:
    """0 to 3, as VERDICTS says: a number for what is one of four series."""
    names = ("insufficient", "quiet", "watch", "drift")
    picks = (picked(f'verdict="{name}"') for name in names)
    return " + ".join(
        f"{number} * {highest('inference_drift_verdict', pick=pick)}"
        for number, pick in enumerate(picks)
    )


def accuracy(bound: str) -> str:
    """By the newest labels."""
    labels = picked(f'window="newest", bound="{bound}"')
    return highest("inference_labelled_accuracy_ratio", pick=labels)


SECTIONS: dict[str, tuple[Panel | Table, ...]] = {
    "Is it well": (
        Table(
            "Now",
            "Drift is worth a look, harm is worth a training. Accuracy is what the newest labels say, with its 95 % interval; estimated, what answers alone suggest.",
            ("model", "version"),
            (
                Column("verdict", verdict(), words=VERDICTS),
                Column("rows in window", highest("inference_drift_window_samples")),
                Column("accuracy", accuracy("value"), "percentunit"),
                Column("from", accuracy("low"), "percentunit"),
                Column("to", accuracy("high"), "percentunit"),
                Column(
                    "estimated",
                    f"min by (model, version) (inference_estimated_accuracy_ratio{PICK})",
                    "percentunit",
                ),
                Column(
                    "labels", highest("inference_labelled_rows", pick=picked('window="overall"'))
                ),
                Column("harmful", highest("inference_quality_harmful"), words=HARM),
            ),
            width=14,
            height=9,
        ),
        Panel(
            "Verdict on the traffic",
            "Watch: a window such as comes once in 100 by chance. Drift: two of three, each of which comes once in 1,000.",
            ((verdict(), VERSION),),
            kind="states",
            words=VERDICTS,
            width=10,
            height=9,
        ),
    ),
    "What moved": (
        Panel(
            "Signals of $model",
            "Each cell: how rarely a window without drift has some signal as far out, as powers of ten. 1.3 is one in 20, 3 is one in 1,000. The version that is asked.",
            (
                (
                    f"-log10(clamp_min({of_answering(f'inference_signal_drift_pvalue_ratio{PICK}', 'model, signal')}, 0.0001))",
                    "{{signal}}",
                ),
            ),
            kind="cells",
            steps=((1.3, "yellow"), (2, ORANGE), (3, RED)),
            height=11,
            each_model=True,
        ),
        Table(
            "The signals that are furthest out",
            "Three of each model, with two distances from the profile. Distances are larger in smaller windows, drift or none; the chance is not.",
            ("model", "version", "signal"),
            (
                Column("by chance", MOVED, "percentunit"),
                Column("stability index", score("psi")),
                Column("Kolmogorov-Smirnov", score("ks")),
            ),
            width=12,
            height=12,
        ),
        Panel(
            "Kinds that drifted",
            "What of a request has drifted: what comes in, what is answered, or what the model makes of it in between.",
            (
                (
                    or_nothing(highest("inference_drift_detected", "model, version, kind")),
                    f"{VERSION} {{{{kind}}}}",
                ),
            ),
            kind="states",
            words={0: ("no", GREEN), 1: ("drifted", RED)},
            width=12,
            height=12,
        ),
        Panel(
            "How unusual the last hour is",
            "Deviations of the index above what so many rows give without drift, over all machines. Above 6 for a quarter of an hour it alerts.",
            (
                (
                    or_nothing(f"topk(5, model_signal:psi_z:1h{PICK})"),
                    "{{model}} {{signal}}",
                ),
            ),
            steps=((6, RED),),
            width=6,
        ),
        Panel(
            "Rows by signal and bin",
            "Per second, the largest ten. Beside the profile's shares it shows where the traffic went.",
            (
                (
                    or_nothing(
                        f"topk(10, {rate('inference_signal_bin_observations_total', 'model, signal, bin')})"
                    ),
                    "{{model}} {{signal}} {{bin}}",
                ),
            ),
            unit="rowsps",
            width=6,
        ),
        Panel(
            "The profile",
            "Its rows, and how many bins it has. A promotion brings another one.",
            (
                (or_nothing(highest("inference_signal_reference_rows")), f"{VERSION} rows"),
                (
                    or_nothing(
                        "count by (model, version) "
                        f"({highest('inference_signal_reference_ratio', 'model, version, signal, bin')})"
                    ),
                    f"{VERSION} bins",
                ),
            ),
            width=6,
        ),
        Panel(
            "Since the last window",
            "Its age. A window takes as long as its rows take to come.",
            (
                (
                    or_nothing(
                        f"time() - {highest('inference_drift_last_evaluation_timestamp_seconds')}"
                    ),
                    VERSION,
                ),
            ),
            unit="s",
            width=6,
        ),
    ),
}

INTAKE: dict[str, tuple[Panel | Table, ...]] = {
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
            kind="stack",
        ),
        Panel(
            "Confidence, median",
            "The highest probability of a predicted row.",
            ((or_nothing(quantile(0.5, "inference_prediction_confidence_ratio")), "{{model}}"),),
            unit="percentunit",
            most=1,
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
}
