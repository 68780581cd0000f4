"""Triton's model statistics, worked out from the counts of all processes. It must not know who asks, or how counts are collected.

Counts are exact and only grow. Times are sums over answered requests: `compute_input` decoding, `queue` the wait for a batch,
`compute_infer` everything from there to the answer, the socket to the engine included. `fail` has the time of those that were not
answered. In `batch_stats`, `compute_infer` is the run of a batch, with joining and cutting.
"""

from collections import defaultdict
from typing import Any

from service.snapshots import Snapshot

REQUESTS = "inference_requests_total"
TOTAL = "inference_request_duration_seconds_sum"
DECODE = "inference_decode_duration_seconds_sum"
QUEUE = "inference_queue_duration_seconds_sum"
RUNS = "inference_compute_duration_seconds_count"
ROWS = "inference_rows_total"
FAILED = "inference_failed_request_seconds_total"
LAST = "inference_last_batch_timestamp_seconds"
KNOWN = (TOTAL, DECODE, QUEUE, RUNS, ROWS, FAILED, LAST)
BATCHES = "inference_batches_total"
SECONDS = "inference_batch_compute_seconds_total"

Sums = dict[str, float]
Sizes = dict[int, dict[str, float]]
"""Rows -> what was counted of batches with so many."""


def model_statistics(page: Snapshot) -> list[dict[str, Any]]:
    """An entry for each version that anything was counted of."""
    found: dict[tuple[str, str], Sums] = defaultdict(lambda: defaultdict(float))
    sizes: dict[tuple[str, str], Sizes] = defaultdict(lambda: defaultdict(dict))
    for name, labels, value in (sample for family in page for sample in family.samples):
        if name == REQUESTS:
            # Whose caller went away is neither answered nor failed.
            status = labels["status"]
            kind = status if status in ("ok", "cancelled") else "fail"
            found[labels["model"], labels["version"]][kind] += value
        elif name in KNOWN:
            found[labels["model"], labels["version"]][name] += value
        elif name in (BATCHES, SECONDS):
            sizes[labels["model"], labels["version"]][int(labels["rows"])][name] = value
    return [
        entry(model, version, sums, sizes[model, version])
        for (model, version), sums in sorted(found.items())
    ]


def entry(model: str, version: str, sums: Sums, sizes: Sizes | None = None) -> dict[str, Any]:
    """One version in the protocol's words; what was never counted is 0."""
    answered, failed = int(sums.get("ok", 0)), int(sums.get("fail", 0))
    total, decode, queue = (sums.get(name, 0.0) for name in (TOTAL, DECODE, QUEUE))
    return {
        "name": model,
        "version": version,
        "last_inference": int(1000 * sums.get(LAST, 0)),
        "inference_count": int(sums.get(ROWS, 0)),
        "execution_count": int(sums.get(RUNS, 0)),
        "inference_stats": {
            "success": duration(answered, total),
            "fail": duration(failed, sums.get(FAILED, 0.0)),
            "queue": duration(answered, queue),
            "compute_input": duration(answered, decode),
            "compute_infer": duration(answered, max(0.0, total - decode - queue)),
            "compute_output": duration(answered, 0.0),
            "cache_hit": duration(0, 0.0),
            "cache_miss": duration(0, 0.0),
        },
        "response_stats": {},
        "batch_stats": [of_size(rows, one) for rows, one in sorted((sizes or {}).items())],
        "memory_usage": [],
    }


def of_size(rows: int, counted: dict[str, float]) -> dict[str, Any]:
    """The batches of one size."""
    count = int(counted.get(BATCHES, 0))
    return {
        "batch_size": rows,
        "compute_input": duration(count, 0.0),
        "compute_infer": duration(count, counted.get(SECONDS, 0.0)),
        "compute_output": duration(count, 0.0),
    }


def duration(count: int, seconds: float) -> dict[str, int]:
    """How often something happened, and for how many nanoseconds in all."""
    return {"count": count, "ns": int(1e9 * seconds)}
