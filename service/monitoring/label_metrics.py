"""What Prometheus is told of labels and of what they say. It must not know where labels come from."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from service.monitoring.harm import Harm
from service.monitoring.labelling import Taken
from service.monitoring.quality import DELAYS, Accuracy, Quality


class LabelMetrics:
    """Labels are counted by the machine that took them; what they say is the same on all machines that share a ledger."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("model", "version")

        def gauge(name: str, text: str, *more: str) -> Gauge:
            return Gauge(name, text, (*labels, *more), registry=registry)

        self._labels = Counter(
            "inference_feedback_labels",
            "Labels by what became of them: correct and incorrect say what the answer was. No version: its prediction is not known.",
            (*labels, "outcome"),
            registry=registry,
        )
        self._delay = Histogram(
            "inference_feedback_delay_seconds",
            "Seconds from a prediction to its label.",
            ("model",),
            buckets=DELAYS,
            registry=registry,
        )
        self._accuracy = gauge(
            "inference_labelled_accuracy_ratio",
            "Share of right answers among labelled rows, 0 to 1, of the newest or of all, with its 95 % interval.",
            "window",
            "bound",
        )
        self._rows = gauge("inference_labelled_rows", "Labelled rows behind it.", "window")
        self._evidence = gauge(
            "inference_quality_evidence_log",
            "Evidence that the error exceeds what was promised and tolerated, as a natural logarithm; the alarm is at ln(100) = 4.6.",
        )
        self._harmful = gauge(
            "inference_quality_harmful", "1 from that alarm until labels show the opposite."
        )

    def count(self, model: str, taken: Taken) -> None:
        """A batch that was taken."""
        for version, outcome in taken.told:
            self._labels.labels(model, str(version) if version else "", outcome).inc()
        for delay in taken.delays:
            self._delay.labels(model).observe(delay)

    def show(self, model: str, version: int, quality: Quality) -> None:
        """What a version's labels say."""
        key = (model, str(version))
        for window, accuracy in (("newest", quality.newest), ("overall", quality.overall)):
            self._rows.labels(*key, window).set(0 if accuracy is None else accuracy.n)
            if accuracy is not None:
                self._show(key, window, accuracy)
        tests = [one for one in (quality.harm, quality.harm_since_drift) if one is not None]
        if tests:
            self._evidence.labels(*key).set(strongest(tests))
            self._harmful.labels(*key).set(any(one.verdict == "harmful" for one in tests))

    def _show(self, key: tuple[str, str], window: str, accuracy: Accuracy) -> None:
        for bound in ("value", "low", "high"):
            self._accuracy.labels(*key, window, bound).set(getattr(accuracy, bound))


def strongest(tests: Iterable[Harm]) -> float:
    """The strongest evidence of harm, on the scale of the overall test, whose alarm is the same for every model."""
    return max(
        max(one.overall.log, one.recent.log - one.recent.alarm + one.overall.alarm) for one in tests
    )
