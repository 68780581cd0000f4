"""The loop: is a model being trained, what became of triggers, what did the gate say. A part of the dashboard of models."""

from deploy.grafana.panels import BLUE, GREEN, ORANGE, RED, Panel, Table
from deploy.grafana.promql import (
    PICK,
    REQUESTS,
    VERSION,
    highest,
    lately,
    or_nothing,
    picked,
    rate,
)

WORDS = {
    0: ("none", "#dde1e6"),
    1: ("under way", BLUE),
    2: ("promoted", GREEN),
    3: ("rejected", ORANGE),
    4: ("taken back", RED),
}


def state(number: int, query: str) -> str:
    """`number` of the models for which `query` is above 0, told apart by a label, so that the largest of several holds."""
    return f'label_replace({number} * ({query} > bool 0), "state", "{number}", "", "")'


def event(number: int, counter: str, pick: str = PICK) -> str:
    """`number` for a minute after an event."""
    return state(number, lately(counter, "model", "1m", pick))


STATES = (
    state(0, highest("inference_model_ready", "model")),
    state(1, highest("inference_retraining_active", "model")),
    event(2, "inference_model_promotions_total"),
    event(3, "inference_gate_decisions_total", picked('passed="false"')),
    event(4, "inference_model_rollbacks_total"),
)

DURATION = "inference_retraining_duration_seconds"
TOOK = f"sum by (model) ({DURATION}_sum{PICK}) / sum by (model) ({DURATION}_count{PICK})"

SECTIONS: dict[str, tuple[Panel | Table, ...]] = {
    "How it stays fresh": (
        Panel(
            "Retrainings",
            "Blue while one is under way, its trial and its watch after the promotion included; then, for a minute, what came of it.",
            ((f"max by (model) ({' or '.join(STATES)})", "{{model}}"),),
            kind="states",
            words=WORDS,
            width=12,
            height=9,
        ),
        Panel(
            "Who answers",
            "Requests per second by version: a promotion moves all of them at once.",
            ((rate(REQUESTS, "model, version"), VERSION),),
            unit="reqps",
            kind="stack",
            width=12,
            height=9,
        ),
        Panel(
            "Triggers and jobs",
            "In the last hour, by what set them off and what became of them. suppressed: the policy refused, `evergreen retrain list` says why.",
            (
                (
                    or_nothing(
                        lately("inference_retraining_jobs_total", "model, trigger, outcome")
                    ),
                    "{{model}} {{trigger}} {{outcome}}",
                ),
            ),
            width=12,
        ),
        Panel(
            "The gate",
            "Challengers judged in the last hour. Two rejected in a row: only a person starts the next.",
            (
                (
                    or_nothing(lately("inference_gate_decisions_total", "model, passed")),
                    "{{model}} passed: {{passed}}",
                ),
            ),
            width=6,
        ),
        Panel(
            "Labels wanted",
            "The traffic drifts, labels show harm, and so many more are needed to learn from.",
            ((or_nothing(highest("inference_labels_wanted", "model")), "{{model}}"),),
            width=6,
        ),
        Panel(
            "Promotions",
            "Challengers that took the champion's place in the last hour.",
            ((or_nothing(lately("inference_model_promotions_total", "model")), "{{model}}"),),
        ),
        Panel(
            "Taken back",
            "Promotions in the last hour that hurt: a retraining's, or a person's.",
            (
                (
                    or_nothing(lately("inference_model_rollbacks_total", "model, promoted_by")),
                    "{{model}} by a {{promoted_by}}",
                ),
            ),
        ),
        Panel(
            "From the trigger to the end",
            "Mean since the service started, trial and watch included.",
            ((or_nothing(TOOK), "{{model}}"),),
            unit="s",
        ),
    ),
}
