"""Who asks, and who was turned away: the end of the dashboard of serving."""

from deploy.grafana.panels import GREEN, RED, Panel, Table
from deploy.grafana.promql import RATE, or_nothing


def each(counter: str, by: str) -> str:
    """Per second; 0 while nothing was counted: tokens, limits and traces are switched on by settings."""
    return or_nothing(f"sum by ({by}) (rate({counter}{RATE}))")


SECTIONS: dict[str, tuple[Panel | Table, ...]] = {
    "Who asks": (
        Panel(
            "Open connections",
            "Idle ones included. At the limit of `limits.connections` idle ones make room.",
            (("sum by (instance) (inference_connections)", "{{instance}}"),),
        ),
        Panel(
            "Requests by token",
            "Where a token is asked for, by its name in the token file.",
            ((each("inference_token_requests_total", "token"), "{{token}}"),),
            unit="reqps",
        ),
        Panel(
            "Turned away",
            "For who asked: no token, an unknown one, one without the scope, or a quota that is used up.",
            ((each("inference_denied_requests_total", "reason, token"), "{{reason}} {{token}}"),),
            unit="reqps",
        ),
        Panel(
            "Connections ended here",
            "For what their clients did or did not: slow heads or bodies, answers that nobody reads, limits.",
            ((each("inference_closed_connections_total", "reason"), "{{reason}}"),),
        ),
        Panel(
            "Tokens and certificates",
            "Outdated: the file on the disk cannot be used, and what it held before goes on.",
            ((or_nothing("max by (file) (inference_outdated_secrets > bool 0)"), "{{file}}"),),
            kind="states",
            words={0: ("in use", GREEN), 1: ("outdated", RED)},
        ),
        Panel(
            "Files that were read again, and spans",
            "Reloads of tokens and certificates; spans of traces by what became of them.",
            (
                (each("inference_secret_reloads_total", "file, status"), "{{file}} {{status}}"),
                (each("inference_trace_spans_total", "outcome"), "spans {{outcome}}"),
            ),
        ),
    ),
}
