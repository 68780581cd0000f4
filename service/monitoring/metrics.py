"""What Prometheus is told of the traffic of every version. It must not know where figures come from.

Bins are counters, so that the sum over machines is exact and a score can be worked out of it; scores and verdicts are gauges, the same on every
machine that shares a ledger, and not for averaging.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import get_args

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)

from models.profile import Comparison
from service.monitoring.detector import Verdict
from service.monitoring.judge import Judge
from service.monitoring.seen import CLASSES, CONFIDENCES, Seen

LABELS = ("model", "version")
KINDS = ("input", "output", "embedding")


class MonitorMetrics:
    """A collector over `seen`, all versions that are loaded, and the `share` of the requests that is observed."""

    def __init__(self, seen: Callable[[], Iterable[Seen]], share: Callable[[], float]) -> None:
        self._seen, self._share = seen, share

    def collect(self) -> Iterator[Metric]:
        """What the registry asks for."""
        seen = list(self._seen())
        share = GaugeMetricFamily(
            "inference_monitor_sampling_ratio",
            "The share of the requests that is observed, 0 to 1, in the front end that observes the smallest.",
        )
        share.add_metric((), self._share())
        yield share
        yield from answers(seen)
        judges = [(one, one.judge) for one in seen if one.judge is not None]
        yield from bins(judges)
        yield from scores(judges)
        yield from verdicts(judges)


def of(one: Seen) -> tuple[str, str]:
    """A version, as labels name it."""
    return one.model, str(one.version)


def answers(seen: Iterable[Seen]) -> Iterator[Metric]:
    """Which classes were predicted, and how surely."""
    predictions = CounterMetricFamily(
        "inference_predictions",
        "Predicted rows by class, worked out of the observed ones: each stands for as many as its share of the requests says.",
        labels=(*LABELS, "class"),
    )
    confidence = HistogramMetricFamily(
        "inference_prediction_confidence_ratio",
        "The highest probability of each predicted row, 0 to 1, worked out in the same way.",
        labels=LABELS,
    )
    for one in seen:
        for name in one.labels[:CLASSES]:
            predictions.add_metric((*of(one), name), one.classes.get(name, 0.0))
        for name in one.classes.keys() - set(one.labels[:CLASSES]):
            predictions.add_metric((*of(one), name), one.classes[name])
        names = [*map(str, CONFIDENCES), "+Inf"]
        buckets = list(zip(names, accumulate(one.confidences), strict=True))
        confidence.add_metric(of(one), buckets, one.confidence_sum)
    yield from (predictions, confidence)


def bins(judges: Iterable[tuple[Seen, Judge]]) -> Iterator[Metric]:
    """How often each bin was hit, beside its share of the reference."""
    observations = CounterMetricFamily(
        "inference_signal_bin_observations",
        "Observed rows by signal and bin of the version's profile; the last bin is for what has no value.",
        labels=(*LABELS, "signal", "bin"),
    )
    reference = GaugeMetricFamily(
        "inference_signal_reference_ratio",
        "The share of the profile's own rows in each bin, 0 to 1.",
        labels=(*LABELS, "signal", "bin"),
    )
    rows = GaugeMetricFamily(
        "inference_signal_reference_rows", "Rows behind the profile.", labels=LABELS
    )
    for one, judge in judges:
        known = judge.reference
        rows.add_metric(of(one), known.rows)
        live = known.by_signal(one.bins)
        for signal, counts in zip(known.signals, live, strict=True):
            total = max(sum(signal.counts), 1)
            for number, (count, usual) in enumerate(
                zip(counts.tolist(), signal.counts, strict=True)
            ):
                labels = (*of(one), signal.name, str(number))
                observations.add_metric(labels, count)
                reference.add_metric(labels, usual / total)
    yield from (observations, reference, rows)


def scores(judges: Iterable[tuple[Seen, Judge]]) -> Iterator[Metric]:
    """Each signal in the last window."""
    chance = GaugeMetricFamily(
        "inference_signal_drift_pvalue_ratio",
        "How often a window without drift has some signal as far out as this one, 0 to 1.",
        labels=(*LABELS, "signal"),
    )
    score = GaugeMetricFamily(
        "inference_signal_drift_score",
        "How far the last window's signal is from the reference, by method: ks and js from 0 to 1, psi from 0, w1 in the signal's own unit. They grow as windows get smaller: alert on the p-value.",
        labels=(*LABELS, "signal", "method"),
    )
    for one, judge in judges:
        for signal in () if judge.comparison is None else judge.comparison.signals:
            chance.add_metric((*of(one), signal.name), signal.p)
            for method in ("psi", "js", "ks", "w1"):
                labels = (*of(one), signal.name, method)
                score.add_metric(labels, getattr(signal, method))
    yield from (chance, score)


def verdicts(judges: Iterable[tuple[Seen, Judge]]) -> Iterator[Metric]:
    """What the last windows mean."""
    verdict = GaugeMetricFamily(
        "inference_drift_verdict",
        "1 for the verdict on the traffic that holds now, 0 for the others.",
        labels=(*LABELS, "verdict"),
    )
    detected = GaugeMetricFamily(
        "inference_drift_detected",
        "1 while signals of this kind have drifted: two of the last three windows were far out.",
        labels=(*LABELS, "kind"),
    )
    samples = GaugeMetricFamily(
        "inference_drift_window_samples", "Rows in the last window.", labels=LABELS
    )
    last = GaugeMetricFamily(
        "inference_drift_last_evaluation_timestamp_seconds",
        "When the last window ended, in seconds since 1970.",
        labels=LABELS,
    )
    accuracy = GaugeMetricFamily(
        "inference_estimated_accuracy_ratio",
        "The share of right answers, 0 to 1, that the answers themselves suggest: an estimate, blind to what labels mean today.",
        labels=(*LABELS, "method"),
    )
    for one, judge in judges:
        for name in get_args(Verdict):
            verdict.add_metric((*of(one), name), float(name == judge.detector.verdict))
        kinds = moved(judge.comparison) if judge.detector.verdict == "drift" else set()
        for kind in KINDS:
            detected.add_metric((*of(one), kind), float(kind in kinds))
        samples.add_metric(of(one), 0 if judge.counted is None else judge.counted.samples)
        if judge.evaluated_at is not None:
            last.add_metric(of(one), judge.evaluated_at)
        for method, value in judge.accuracies().items():
            accuracy.add_metric((*of(one), method), value)
    yield from (verdict, detected, samples, last, accuracy)


def moved(comparison: Comparison | None) -> set[str]:
    """The kinds of signals that lie beyond their threshold; of a drift at least that of the strongest."""
    if comparison is None:
        return set()
    found = {one.kind for one in comparison.signals if one.statistic > one.threshold}
    return {*found, comparison.signals[0].kind}
