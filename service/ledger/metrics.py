"""What Prometheus is told of the writing of a ledger. It must not know what records mean."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from service.ledger.writer import Writer


class LedgerMetrics:
    """A collector over one machine's writer."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def collect(self) -> Iterator[Metric]:
        """What the registry asks for."""
        records = CounterMetricFamily(
            "inference_ledger_records",
            "Records of predictions, payloads, blocks and evaluations, by what became of them: written, or dropped because there was no room.",
            labels=("kind", "outcome"),
        )
        waiting = GaugeMetricFamily(
            "inference_ledger_waiting_records",
            "Records that wait to be written: many of them while the ledger is away.",
            labels=("kind",),
        )
        for kind, count in self._writer.written().items():
            records.add_metric((kind, "written"), count)
        for kind, count in self._writer.dropped().items():
            records.add_metric((kind, "dropped"), count)
        for kind, count in self._writer.waiting().items():
            waiting.add_metric((kind,), count)
        away = GaugeMetricFamily(
            "inference_ledger_away",
            "1 while the ledger cannot be written: its disk is full, or its server cannot be reached.",
        )
        away.add_metric((), float(self._writer.away))
        yield from (records, waiting, away)
