"""Does it hurt: what labels say. A part of the dashboard of models."""

from deploy.grafana.panels import BLUE, RED, Panel, Table
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


def labelled(bound: str) -> str:
    """Accuracy by the newest labels, of the version that is asked."""
    labels = picked(f'window="newest", bound="{bound}"')
    return of_answering(f"inference_labelled_accuracy_ratio{labels}")


ESTIMATED = of_answering(f"inference_estimated_accuracy_ratio{PICK}", "model, method")

SECTIONS: dict[str, tuple[Panel | Table, ...]] = {
    "Does it hurt": (
        Panel(
            "Accuracy of $model",
            "By the newest labels, with the 95 % interval as a band; estimated: from answers alone, blind to what labels mean today. The version that is asked.",
            (
                (labelled("high"), "to"),
                (labelled("low"), "from"),
                (labelled("value"), "accuracy"),
                (ESTIMATED, "estimated, {{method}}"),
            ),
            unit="percentunit",
            colours={"accuracy": BLUE, "to": BLUE, "from": BLUE},
            band=("to", "from"),
            least=None,
            each_model=True,
        ),
        Panel(
            "Evidence of harm",
            "That the error exceeds what was promised and tolerated, as a natural logarithm. The alarm is at 4.6.",
            (
                (or_nothing(highest("inference_quality_evidence_log")), VERSION),
                (or_nothing(highest("inference_quality_harmful")), f"{VERSION} harmful"),
            ),
            steps=((4.6, RED),),
            width=6,
        ),
        Panel(
            "Labels",
            "Per second by what became of them. correct and incorrect say what the answer was.",
            (
                (
                    or_nothing(rate("inference_feedback_labels_total", "model, outcome")),
                    "{{model}} {{outcome}}",
                ),
            ),
            kind="stack",
            width=6,
        ),
        Panel(
            "Labelled rows",
            "How many there are of each version: of the newest, and in all.",
            (
                (
                    or_nothing(highest("inference_labelled_rows", "model, version, window")),
                    f"{VERSION} {{{{window}}}}",
                ),
            ),
            width=6,
        ),
        Panel(
            "Delay of labels",
            "From a prediction to its label: the median, and what nine in ten do not exceed.",
            (
                (or_nothing(quantile(0.5, "inference_feedback_delay_seconds")), "{{model}} median"),
                (or_nothing(quantile(0.9, "inference_feedback_delay_seconds")), "{{model}} p90"),
            ),
            unit="s",
            width=6,
        ),
    ),
}
