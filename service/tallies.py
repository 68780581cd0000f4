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

from service.metrics import BYTES, COMPUTE, DIFFERENCES, LATENCY, Tally

LABELS = ("model", "version", "api")


class RequestTally:
    """The requests of one version over one API."""

    __slots__ = ("decode", "duration", "failed", "in_flight", "outcomes")

    def __init__(self) -> None:
        self.in_flight = 0
        self.outcomes: dict[str, int] = {"ok": 0}
        self.failed = 0.0
        self.decode = Tally(COMPUTE)
        self.duration = Tally(LATENCY)

    def begin(self) -> None:
        """A request was accepted."""
        self.in_flight += 1

    def end(self, outcome: str) -> None:
        """It was answered: "ok", or the error's class."""
        self.in_flight -= 1
        self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def fail(self, outcome: str, total: float) -> None:
        """It was not answered as asked, after `total` seconds."""
        self.end(outcome)
        if outcome != "cancelled":
            self.failed += total

    def time(self, decode: float, total: float) -> None:
        """Seconds of an answered request: until its tensors were there, and in all."""
        self.decode.observe(decode)
        self.duration.observe(total)

    def exemplify(self, decode: float, total: float, trace_id: str, now: float) -> None:
        """Show the trace of a request whose times were counted, at `now` (s since 1970)."""
        self.decode.exemplify(decode, trace_id, now)
        self.duration.exemplify(total, trace_id, now)


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


class FileTally:
    """Image files that came over /v1: what they are called by their first bytes, and how large they are."""

    SIGNATURES = ((b"\x89PNG", "png"), (b"\xff\xd8\xff", "jpeg"), (b"RIFF", "webp"))

    def __init__(self) -> None:
        self.formats: dict[str, int] = {}
        self.sizes = Tally(BYTES)

    def count(self, data: bytes) -> None:
        """Count one file."""
        known = (name for start, name in self.SIGNATURES if data.startswith(start))
        name = next(known, "other")
        self.formats[name] = self.formats.get(name, 0) + 1
        self.sizes.observe(len(data))


class FrontEndMetrics:
    """All tallies of a front end, and the registry that shows them."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, int, str], RequestTally] = {}
        self._shadows: dict[tuple[str, int], ShadowTally] = {}
        self._files: dict[str, FileTally] = {}
        self._invalid: dict[str, dict[str, int]] = {}
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

    def of_files(self, model: str) -> FileTally:
        """The tally of the image files that a model was given."""
        return self._files.setdefault(model, FileTally())

    def refuse(self, model: str, reason: str) -> None:
        """A request was refused for what was in it."""
        reasons = self._invalid.setdefault(model, {})
        reasons[reason] = reasons.get(reason, 0) + 1

    def intake(self) -> dict[str, tuple[int, dict[str, int]]]:
        """By model: requests that have ended, and how many of them were refused for what was in them, by reason."""
        ended: dict[str, int] = {}
        for (model, _, _), tally in self._tallies.items():
            ended[model] = ended.get(model, 0) + sum(tally.outcomes.values())
        return {model: (count, self._invalid.get(model, {})) for model, count in ended.items()}

    def keep(self, loaded: Collection[tuple[str, int]]) -> None:
        """Forget versions that are not among `loaded`, unless somebody still waits for an answer of theirs."""
        self._tallies = {
            key: tally
            for key, tally in self._tallies.items()
            if key[:2] in loaded or tally.in_flight
        }
        self._shadows = {key: tally for key, tally in self._shadows.items() if key in loaded}
        models = {model for model, _ in loaded}
        self._files = {model: tally for model, tally in self._files.items() if model in models}
        self._invalid = {model: one for model, one in self._invalid.items() if model in models}

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
        failed = CounterMetricFamily(
            "inference_failed_request_seconds",
            "Seconds that failed requests took.",
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
            failed.add_metric(labels, tally.failed)
            in_flight.add_metric(labels, tally.in_flight)
        yield from (requests, duration, decode, failed, in_flight)
        yield from self._collect_shadows()
        yield from self._collect_inputs()

    def _collect_inputs(self) -> Iterator[Metric]:
        invalid = CounterMetricFamily(
            "inference_invalid_inputs",
            "Requests that were refused for what was in them, by reason: a broken sensor or sender, not drift.",
            labels=("model", "reason"),
        )
        files = CounterMetricFamily(
            "inference_image_files",
            "Image files sent to /v1, by format.",
            labels=("model", "format"),
        )
        sizes = HistogramMetricFamily(
            "inference_image_file_bytes", "Size of those files.", labels=("model",)
        )
        for model, reasons in self._invalid.items():
            for reason, count in reasons.items():
                invalid.add_metric((model, reason), count)
        for model, tally in self._files.items():
            for name, count in tally.formats.items():
                files.add_metric((model, name), count)
            tally.sizes.add_to(sizes, (model,))
        yield from (invalid, files, sizes)

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
