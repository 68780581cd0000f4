"""What is counted under Triton's names, for dashboards and autoscalers that know no others. Pure: it must not know how counts are collected.

everybody's counts -> nv_inference_... of each version. What is not known has no series: there is no cache, and no GPU is asked.
"""

from collections.abc import Callable, Mapping
from typing import Any

from service.snapshots import Family, Snapshot
from service.statistics import REQUESTS, model_statistics

REASONS = {
    "QueueFull": "REJECTED",
    "DeadlineUnmeetable": "REJECTED",
    "Unavailable": "REJECTED",
    "cancelled": "CANCELED",
    "EngineError": "BACKEND",
    "OutOfMemory": "BACKEND",
    "defect": "BACKEND",
}
"""Triton's reason for an outcome of ours; whatever else failed is OTHER."""
EVERY_REASON = ("REJECTED", "CANCELED", "BACKEND", "OTHER")
STAGES = ("queue", "compute_input", "compute_infer", "compute_output")
WAITING = "inference_queue_requests"
# Triton's counters do not end in _total. A counter that does not is none to OpenMetrics; every query works on "unknown" alike.
COUNTER = "unknown"

Value = Callable[[Mapping[str, Any]], int]


def aliases(page: Snapshot) -> Snapshot:
    """The counts of `page` as Triton shows them. Durations are microseconds, summed over answered requests."""
    versions = model_statistics(page)

    def counted(name: str, text: str, value: Value) -> Family:
        return Family(
            f"nv_inference_{name}",
            COUNTER,
            text,
            [
                (
                    f"nv_inference_{name}",
                    {"model": one["name"], "version": one["version"]},
                    float(value(one)),
                )
                for one in versions
            ],
        )

    def spent(stage: str) -> Family:
        text = f"Cumulative {stage.replace('_', ' ')} duration in microseconds."
        return counted(f"{stage}_duration_us", text, lambda one: microseconds(one, stage))

    return [
        counted(
            "request_success",
            "Inference requests answered.",
            lambda one: int(one["inference_stats"]["success"]["count"]),
        ),
        failures(page),
        counted("count", "Rows inferred.", lambda one: int(one["inference_count"])),
        counted("exec_count", "Batches run.", lambda one: int(one["execution_count"])),
        counted(
            "request_duration_us",
            "Cumulative request duration in microseconds.",
            lambda one: sum(microseconds(one, stage) for stage in STAGES),
        ),
        *map(spent, STAGES),
        pending(page),
    ]


def microseconds(one: Mapping[str, Any], stage: str) -> int:
    """What a version's requests spent in a stage."""
    return int(one["inference_stats"][stage]["ns"]) // 1000


def failures(page: Snapshot) -> Family:
    """Requests that were not answered, by Triton's reasons: all of them are shown, so that a rate begins at zero."""
    name = "nv_inference_request_failure"
    sums: dict[tuple[str, str], dict[str, float]] = {}
    for sample, labels, value in (sample for family in page for sample in family.samples):
        if sample != REQUESTS:
            continue
        found = sums.setdefault(
            (labels["model"], labels["version"]), dict.fromkeys(EVERY_REASON, 0.0)
        )
        if labels["status"] != "ok":
            found[REASONS.get(labels["status"], "OTHER")] += value
    return Family(
        name,
        COUNTER,
        "Inference requests not answered, by reason.",
        [
            (name, {"model": model, "version": version, "reason": reason}, value)
            for (model, version), found in sums.items()
            for reason, value in found.items()
        ],
    )


def pending(page: Snapshot) -> Family:
    """Requests that wait for their batch."""
    name = "nv_inference_pending_request_count"
    found = [one for family in page if family.name == WAITING for one in family.samples]
    samples = [(name, labels, value) for _, labels, value in found]
    return Family(name, "gauge", "Requests waiting for execution.", samples)
