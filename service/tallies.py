"""What a front end counts: requests as their callers see them. It must not know who counts.

The counts of a request are plain numbers, which the registry asks for when it is scraped: the client library's locks and labels would
cost a request more than parsing it. All of it belongs to one event loop. Times are in seconds.
"""

from collections.abc import Collection, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from service.metrics import COMPUTE, DIFFERENCES, LATENCY, Tally

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


class ShadowTally:
    """Copies of a model's requests that a shadow answered, beside the champion's answers."""

    __slots__ = ("agreed", "champion", "confidence", "differed", "outcomes", "shadow")

    def __init__(self) -> None:
        self.outcomes: dict[str, int] = {"ok": 0, "dropped": 0}
        self.agreed = 0
        self.differed = 0
        self.confidence = Tally(DIFFERENCES)
        self.champion = Tally(COMPUTE)
        self.shadow = Tally(COMPUTE)

    def end(self, outcome: str) -> None:
        """A copy was answered: "ok", or the error's class; or "dropped", because too many were under way."""
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def time(self, champion: float, shadow: float) -> None:
        """Seconds in the engine, queue and compute, of a request and of its copy."""
        self.champion.observe(champion)
        self.shadow.observe(shadow)

    def compare(self, agrees: bool, difference: float) -> None:
        """One row: whether both give the same label, and how far apart their highest probabilities are."""
        if agrees:
            self.agreed += 1
        else:
            self.differed += 1
        self.confidence.observe(difference)


class FrontEndMetrics:
    """All tallies of a front end, and the registry that shows them."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, int, str], RequestTally] = {}
        self._shadows: dict[tuple[str, int], ShadowTally] = {}
        self.registry = CollectorRegistry()
        self.registry.register(self)

    def of(self, model: str, version: int, api: str) -> RequestTally:
        """The tally of one version's requests over one API."""
        key = (model, version, api)
        if (known := self._tallies.get(key)) is None:
            known = self._tallies[key] = RequestTally()
        return known

    def of_shadow(self, model: str, version: int) -> ShadowTally:
        """The tally of the copies that one version answers."""
        return self._shadows.setdefault((model, version), ShadowTally())

    def keep(self, loaded: Collection[tuple[str, int]]) -> None:
        """Forget versions that are not among `loaded`, unless somebody still waits for an answer of theirs."""
        self._tallies = {
            key: tally
            for key, tally in self._tallies.items()
            if key[:2] in loaded or tally.in_flight
        }
        self._shadows = {key: tally for key, tally in self._shadows.items() if key in loaded}

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
        yield from self._collect_shadows()

    def _collect_shadows(self) -> Iterator[Metric]:
        requests = CounterMetricFamily(
            "inference_shadow_requests",
            "Copies of requests given to a shadow, by outcome: ok, dropped, or the error's class.",
            labels=(*LABELS[:2], "status"),
        )
        rows = CounterMetricFamily(
            "inference_shadow_rows",
            "Rows that champion and shadow both answered, by whether their labels agree.",
            labels=(*LABELS[:2], "agrees"),
        )
        difference = HistogramMetricFamily(
            "inference_shadow_confidence_difference",
            "How far apart the highest probabilities of champion and shadow are.",
            labels=LABELS[:2],
        )
        duration = HistogramMetricFamily(
            "inference_shadow_duration_seconds",
            "Queue and compute of a request at the champion, and of its copy at the shadow.",
            labels=(*LABELS[:2], "role"),
        )
        for (model, version), tally in self._shadows.items():
            labels = (model, str(version))
            for outcome, count in tally.outcomes.items():
                requests.add_metric((*labels, outcome), count)
            rows.add_metric((*labels, "true"), tally.agreed)
            rows.add_metric((*labels, "false"), tally.differed)
            tally.confidence.add_to(difference, labels)
            tally.champion.add_to(duration, (*labels, "champion"))
            tally.shadow.add_to(duration, (*labels, "shadow"))
        yield from (requests, rows, difference, duration)
