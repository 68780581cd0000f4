"""What a front end counts: requests as their callers see them. It must not know who counts.

The counts of a request are plain numbers, which the registry asks for when it is scraped: the client library's locks and labels would
cost a request more than parsing it. All of it belongs to one event loop. Times are in seconds.
"""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from service.metrics import COMPUTE, LATENCY, Tally

LABELS = ("model", "version", "api")


class RequestTally:
    """The requests of one version over one API."""

    __slots__ = ("decode", "duration", "in_flight", "outcomes")

    def __init__(self) -> None:
        self.in_flight = 0
        self.outcomes: dict[str, int] = {"ok": 0}
        self.decode = Tally(COMPUTE)
        self.duration = Tally(LATENCY)

    def begin(self) -> None:
        """A request was accepted."""
        self.in_flight += 1

    def end(self, outcome: str) -> None:
        """It was answered: "ok", or the error's class."""
        self.in_flight -= 1
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def time(self, decode: float, total: float) -> None:
        """Seconds of an answered request: until its tensors were there, and in all."""
        self.decode.observe(decode)
        self.duration.observe(total)


class FrontEndMetrics:
    """All tallies of a front end, and the registry that shows them."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, int, str], RequestTally] = {}
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def of(self, model: str, version: int, api: str) -> RequestTally:
        """The tally of one version's requests over one API."""
        key = (model, version, api)
        if (known := self._tallies.get(key)) is None:
            known = self._tallies[key] = RequestTally()
        return known

    def collect(self) -> Iterator[Metric]:
        """What the registry asks for."""
        requests = CounterMetricFamily(
            "inference_requests",
            "Prediction requests answered, by outcome: ok, or the error's class.",
            labels=(*LABELS, "status"),
        )
        duration = HistogramMetricFamily(
            "inference_request_duration_seconds",
            "From the complete body to the complete answer, successful requests.",
            labels=LABELS,
        )
        decode = HistogramMetricFamily(
            "inference_decode_duration_seconds",
            "From the body to tensors: parsing, image decoding, tokenizing.",
            labels=LABELS,
        )
        in_flight = GaugeMetricFamily(
            "inference_in_flight_requests",
            "Prediction requests accepted and not yet answered.",
            labels=LABELS,
        )
        for (model, version, api), tally in self._tallies.items():
            labels = (model, str(version), api)
            for outcome, count in tally.outcomes.items():
                requests.add_metric((*labels, outcome), count)
            tally.duration.add_to(duration, labels)
            tally.decode.add_to(decode, labels)
            in_flight.add_metric(labels, tally.in_flight)
        yield from (requests, duration, decode, in_flight)
