"""Asks Prometheus what a panel asks, with Grafana's variables filled in as Grafana does. It must not know how answers are drawn."""

import math
import re
from typing import Any, NamedTuple

import httpx

POINTS = 240
"""Steps of a time axis, as a panel of its width has them."""

NONE = "none"
"""What a series without labels is called, which only says that nothing happened."""

Labels = dict[str, str]


class Failed(Exception):
    """Prometheus cannot be asked, or refuses a query; the message has its words."""


class Span(NamedTuple):
    """What is looked at, in seconds since 1970, and how often the service is scraped."""

    start: float
    end: float
    scrape: float = 15.0

    def step(self, points: int = POINTS) -> float:
        """Seconds between two points: never less than between two scrapes."""
        return max(math.ceil((self.end - self.start) / points), self.scrape)


class Series(NamedTuple):
    """One line: what it is called, its labels, and its values at their times."""

    name: str
    labels: Labels
    times: list[float]
    values: list[float]


class Prometheus:
    """The one that is asked."""

    def __init__(self, client: httpx.Client, span: Span) -> None:
        self._client, self.span = client, span

    def range(self, query: str, legend: str, model: str, points: int = POINTS) -> list[Series]:
        """Values over the span, in the order of their names."""
        step = self.span.step(points)
        told = {"start": str(self.span.start), "end": str(self.span.end), "step": str(step)}
        answer = self._get("query_range", query=self._filled(query, model, step), **told)
        found = [
            Series(
                named(legend, one["metric"]),
                one["metric"],
                [float(at) for at, _ in one["values"]],
                [float(value) for _, value in one["values"]],
            )
            for one in answer["result"]
        ]
        return sorted(found, key=lambda one: one.name)

    def instant(self, query: str, model: str) -> list[tuple[Labels, float]]:
        """Values at the end of the span."""
        filled = self._filled(query, model, self.span.step())
        answer = self._get("query", query=filled, time=str(self.span.end))
        return [(one["metric"], float(one["value"][1])) for one in answer["result"]]

    def values(self, metric: str, label: str) -> list[str]:
        """The values that a label has had."""
        told = {"start": str(self.span.start), "end": str(self.span.end), "match[]": metric}
        return list(self._get(f"label/{label}/values", **told))

    def _filled(self, query: str, model: str, step: float) -> str:
        scrape = self.span.scrape
        variables = {
            "__rate_interval": f"{max(step + scrape, 4 * scrape):.0f}s",
            "model": model,
        }
        return re.sub(r"\$(\w+)", lambda found: variables[found[1]], query)

    def _get(self, what: str, **query: str) -> Any:
        try:
            answer = self._client.get(f"/api/v1/{what}", params=query)
        except httpx.TransportError as error:
            raise Failed(f"Prometheus does not answer: {error}") from error
        if not answer.is_success:
            raise Failed(f"Prometheus refuses a query: {answer.text[:500]}")
        return answer.json()["data"]


def named(legend: str, labels: Labels) -> str:
    """A legend with its labels; what has none of them is called as Grafana calls it."""
    if not labels and "{{" in legend:
        return NONE
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), legend).strip()
