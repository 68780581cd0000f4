"""Writes retraining.json, the Grafana dashboard of the loop, beside itself.

    python deploy/grafana/retraining.py

It is read from the top: is a model being trained, what became of triggers, what did the gate say, was anything taken back.
"""

from pathlib import Path

from build import NAMED_TILES, PICK, Panel, Sections, dashboard, mean, or_nothing, write

TARGET = Path(__file__).with_name("retraining.json")
HOUR = "[1h]"


def lately(counter: str, by: str) -> str:
    """How often within the last hour, summed over everything but `by`: jobs are rare."""
    return or_nothing(f"sum by ({by}) (increase({counter}{PICK}{HOUR}))")


SECTIONS: Sections = {
    "Is anything being trained": (
        Panel(
            "Under way",
            "1 while a retraining of the model is under way, its watch after the promotion included.",
            ((or_nothing(f"max by (model) (inference_retraining_active{PICK})"), "{{model}}"),),
            kind="stat",
            width=6,
            options=NAMED_TILES,
        ),
        Panel(
            "Triggers and jobs",
            "In the last hour, by what set them off and what became of them. suppressed: the policy refused, `evergreen retrain list` says why.",
            (
                (
                    lately("inference_retraining_jobs_total", "model, trigger, outcome"),
                    "{{model}} {{trigger}} {{outcome}}",
                ),
            ),
            width=12,
        ),
        Panel(
            "Labels wanted",
            "The traffic drifts, labels show harm, and so many more are needed to learn from.",
            ((or_nothing(f"max by (model) (inference_labels_wanted{PICK})"), "{{model}}"),),
            width=6,
        ),
    ),
    "What came of it": (
        Panel(
            "The gate",
            "Challengers judged in the last hour. Two rejected in a row: only a person starts the next.",
            (
                (
                    lately("inference_gate_decisions_total", "model, passed"),
                    "{{model}} passed: {{passed}}",
                ),
            ),
            width=6,
        ),
        Panel(
            "Promotions",
            "Challengers that took the champion's place in the last hour.",
            ((lately("inference_model_promotions_total", "model"), "{{model}}"),),
            width=6,
        ),
        Panel(
            "Taken back",
            "Promotions in the last hour that hurt: a retraining's, or a person's.",
            (
                (
                    lately("inference_model_rollbacks_total", "model, promoted_by"),
                    "{{model}} by a {{promoted_by}}",
                ),
            ),
            width=6,
        ),
        Panel(
            "From the trigger to the end",
            "Mean, trial and watch included.",
            ((or_nothing(mean("inference_retraining_duration_seconds")), "{{model}}"),),
            unit="s",
            width=6,
        ),
    ),
}


if __name__ == "__main__":
    write(TARGET, dashboard("retraining", SECTIONS))
