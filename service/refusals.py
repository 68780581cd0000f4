"""What a front end counts of whom it let in, turned away and cut off. It must not know why.

Nothing here is labelled by what a client chose: names are those of the operator's token file, reasons are ours.
"""

from collections.abc import Callable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


class Refusals:
    """A collector: plain numbers, which the registry asks for."""

    def __init__(self) -> None:
        self._asked: dict[str, int] = {}
        self._refused: dict[tuple[str, str], int] = {}
        self._closed: dict[str, int] = {}
        self._reread: dict[tuple[str, str], int] = {}
        self._outdated: dict[str, bool] = {}
        self.connections: Callable[[], int] = lambda: 0

    def ask(self, token: str) -> None:
        """A request was made with a token."""
        self._asked[token] = self._asked.get(token, 0) + 1

    def refuse(self, reason: str, token: str = "") -> None:
        """A request was turned away before anybody looked into it."""
        key = reason, token
        self._refused[key] = self._refused.get(key, 0) + 1

    def close(self, reason: str) -> None:
        """A connection was ended here, not by its client."""
        self._closed[reason] = self._closed.get(reason, 0) + 1

    def reread(self, file: str, *, fine: bool) -> None:
        """A file with secrets has changed, and counts from now on; or what it held before goes on."""
        key = file, "ok" if fine else "failed"
        self._reread[key] = self._reread.get(key, 0) + 1
        self._outdated[file] = not fine

    def collect(self) -> Iterator[Metric]:
        """What the registry asks for."""
        asked = CounterMetricFamily(
            "inference_token_requests",
            "Requests made with a token, where one was asked for, by its name.",
            labels=("token",),
        )
        refused = CounterMetricFamily(
            "inference_denied_requests",
            "Requests turned away for who asked: no token, unknown token, scope, quota.",
            labels=("reason", "token"),
        )
        closed = CounterMetricFamily(
            "inference_closed_connections",
            "Connections ended for what their clients did, or did not: slow headers, slow body, unread answer, limit, memory, malformed.",
            labels=("reason",),
        )
        reread = CounterMetricFamily(
            "inference_secret_reloads",
            "Changed files with secrets that were read again, by whether they could be used.",
            labels=("file", "status"),
        )
        outdated = GaugeMetricFamily(
            "inference_outdated_secrets",
            "Front ends that go on with what a file held before, because it cannot be used.",
            labels=("file",),
        )
        for name, count in self._asked.items():
            asked.add_metric((name,), count)
        for key, count in self._refused.items():
            refused.add_metric(key, count)
        for reason, count in self._closed.items():
            closed.add_metric((reason,), count)
        for key, count in self._reread.items():
            reread.add_metric(key, count)
        for file, old in self._outdated.items():
            outdated.add_metric((file,), float(old))
        connections = GaugeMetricFamily(
            "inference_connections", "Open HTTP connections.", value=self.connections()
        )
        yield from (asked, refused, closed, reread, outdated, connections)
