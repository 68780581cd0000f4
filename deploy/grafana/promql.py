"""Queries put together: the parts that many panels share. It must not know panels.

Every query answers with figures as soon as there is traffic. A panel that says "No data" on a calm day teaches people to ignore it, so what
counts misfortunes falls back to 0.
"""

PICK = '{model=~"$model"}'
RATE = "[$__rate_interval]"
VERSION = "{{model}}/{{version}}"

REQUESTS = "inference_requests_total"
DURATION = "inference_request_duration_seconds"


def picked(labels: str) -> str:
    """The selector of the picked models, and of more labels."""
    return f'{{model=~"$model", {labels}}}'


def rate(counter: str, by: str = "model", pick: str = PICK) -> str:
    """Per second, summed over everything but `by`."""
    return f"sum by ({by}) (rate({counter}{pick}{RATE}))"


def quantile(share: float, histogram: str, by: str = "model") -> str:
    """A quantile estimated from a histogram's buckets, where anything was observed."""
    busy = f"{rate(f'{histogram}_count', by)} > 0"
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', f'{by}, le')}) and {busy}"


def mean(histogram: str, by: str = "model") -> str:
    """The average of what a histogram observed, where anything was."""
    return f"{rate(f'{histogram}_sum', by)} / ({rate(f'{histogram}_count', by)} > 0)"


def highest(gauge: str, by: str = "model, version", pick: str = PICK) -> str:
    """A gauge that is the same on every machine, or the worst of them."""
    return f"max by ({by}) ({gauge}{pick})"


def or_zero(query: str, always: str) -> str:
    """`query`, and 0 for each model that is in `always` alone: a series of errors is born with the first error."""
    return f"({query} or 0 * {always})"


def or_nothing(query: str) -> str:
    """`query`, and one 0 while it is empty."""
    return f"{query} or on () vector(0)"


def lately(counter: str, by: str, window: str = "1h", pick: str = PICK) -> str:
    """Events within a window. A counter is born with its first event, of which increase() knows nothing."""
    born = f"{counter}{pick} unless {counter} offset {window}"
    return f"sum by ({by}) (increase({counter}{pick}[{window}]) > 0 or ({born}) > 0)"


ANSWERED = rate(REQUESTS)
FAILED = rate(REQUESTS, "model", picked('status!="ok"'))
ANSWERING = f"{rate(REQUESTS, 'model, version')} > 0"
"""The versions that are asked."""


def of_answering(query: str, by: str = "model") -> str:
    """`query` of the versions that are asked: what stays loaded for a while after a promotion says nothing any more."""
    return f"max by ({by}) ({query} and on (model, version) {ANSWERING})"
