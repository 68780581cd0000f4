"""Which model is slow and why, who is answered, how fast: the head of the serving dashboard."""

from deploy.grafana.panels import BLUE, GREEN, GREY, ORANGE, RED, Column, Panel, Table
from deploy.grafana.promql import (
    ANSWERED,
    DURATION,
    FAILED,
    PICK,
    REQUESTS,
    VERSION,
    mean,
    or_zero,
    picked,
    quantile,
    rate,
)

DECODE, QUEUE, COMPUTE = (
    mean(f"inference_{stage}_duration_seconds") for stage in ("decode", "queue", "compute")
)
FAILED_SHARE = f"{or_zero(FAILED, ANSWERED)} / ({ANSWERED} > 0)"
ROWS = mean("inference_batch_rows")
LATE = ((0.25, ORANGE), (1.0, RED))
"""Seconds: an answer should take less than the first, see rules.yml."""
WAITS = ((0.05, ORANGE), (0.25, RED))
BURNING = ((1.0, "yellow"), (6.0, ORANGE), (14.4, RED))


def named(query: str, stage: str) -> str:
    """`query` with the stage as a label."""
    return f'label_replace({query}, "stage", "{stage}", "", "")'


IN_TIME = rate(f"{DURATION}_bucket", pick=picked('le="0.25"'))
LATE_ANSWERS = f"clamp_min({rate(f'{DURATION}_count')} - {IN_TIME}, 0)"
REST = f"clamp_min({mean(DURATION)} - ({DECODE}) - ({QUEUE}) - ({COMPUTE}), 0)"

STAGES = {"decode": DECODE, "queue": QUEUE, "run": COMPUTE, "rest": REST}
MOST = f"topk by (model) (1, {' or '.join(named(query, stage) for stage, query in STAGES.items())})"

SECTIONS: dict[str, tuple[Panel | Table, ...]] = {
    "Which model is slow, and why": (
        Table(
            "Now",
            "A long queue before usual runs: more load than the engine takes. Long runs, and so a queue: the model, its device or its machine is slow. "
            "Busy is how many runs are under way on average; at the number of instances there is nothing left.",
            ("model",),
            (
                Column("requests/s", ANSWERED, "reqps"),
                Column("failed", FAILED_SHARE, "percentunit", ((0.001, ORANGE), (0.01, RED))),
                Column("p99", quantile(0.99, DURATION), "s", LATE),
                Column("most of it", MOST, label="stage"),
                Column("decode", DECODE, "s", WAITS),
                Column("queue", QUEUE, "s", WAITS),
                Column("run", COMPUTE, "s", WAITS),
                Column("rest", REST, "s", WAITS),
                Column(
                    "rows waiting",
                    f"sum by (model) (inference_queue_rows{PICK})",
                    steps=((16, ORANGE), (128, RED)),
                ),
                Column("rows per batch", ROWS),
                Column("busy", rate("inference_compute_duration_seconds_sum")),
            ),
        ),
        Panel(
            "Where a request's time goes: $model",
            "Mean time by stage, one upon the other: what is tallest is where it goes. Rest: the way to the engine and back, and the answer.",
            ((COMPUTE, "run"), (QUEUE, "queue"), (DECODE, "decode"), (REST, "rest")),
            unit="s",
            kind="stack",
            colours={"run": BLUE, "queue": ORANGE, "decode": GREEN, "rest": GREY},
            each_model=True,
        ),
    ),
    "Does it answer": (
        Panel(
            "Versions that answer",
            "Green while a version answers. Red: it loads, failed, or its engine is being started again.",
            ((f"min by (model, version) (inference_model_ready{PICK})", VERSION),),
            kind="states",
            words={0: ("not ready", RED), 1: ("ready", GREEN)},
        ),
        Panel(
            "Requests by outcome",
            "Answers per second: ok, or the name of the error.",
            ((rate(REQUESTS, "model, status"), "{{model}} {{status}}"),),
            unit="reqps",
        ),
        Panel(
            "Share of requests that failed",
            "Everything but ok, the callers' own mistakes (InputError, Malformed) included.",
            ((FAILED_SHARE, "{{model}}"),),
            unit="percentunit",
        ),
        Panel(
            "Error budget burns",
            "How many times as fast as it may: at 1 what 30 days allow is gone in 30 days, at 14.4 in two. Callers' own mistakes do not count.",
            ((f"model:failed:ratio_rate1h{PICK} / 0.001", "{{model}}"),),
            steps=BURNING,
            width=6,
        ),
        Panel(
            "Latency budget burns",
            "The same for answers that take more than 250 ms, of which there may be 1 %.",
            ((f"model:slow:ratio_rate1h{PICK} / 0.01", "{{model}}"),),
            steps=BURNING,
            width=6,
        ),
        Panel(
            "Time of failures",
            "Seconds a second that requests took which failed: what callers waited for nothing.",
            ((rate("inference_failed_request_seconds_total"), "{{model}}"),),
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
    ),
    "How fast": (
        *(
            Panel(
                f"Latency p{share * 100:.0f}",
                "From the complete body to the complete answer, successful requests.",
                ((quantile(share, DURATION), "{{model}}"),),
                unit="s",
                steps=LATE[:1],
            )
            for share in (0.5, 0.95, 0.99)
        ),
        *(
            Panel(
                f"{title} p99",
                note,
                ((quantile(0.99, f"inference_{stage}_duration_seconds"), "{{model}}"),),
                unit="s",
            )
            for title, stage, note in (
                ("Decode", "decode", "From the body to tensors, in a front end."),
                ("Queue", "queue", "The wait of a request for its batch."),
                ("Run of a batch", "compute", "One run of the model on a batch."),
            )
        ),
        Panel(
            "Late answers",
            "Per second: those that took more than 250 ms.",
            (
                (
                    LATE_ANSWERS,
                    "{{model}}",
                ),
            ),
            unit="reqps",
            width=24,
            height=5,
        ),
    ),
}
