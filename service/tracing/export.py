"""Where spans go: the SDK's batching thread, over OTLP/HTTP, with every span counted. It must not know what a span tells.

Whoever ends a span never waits: beyond the queue's bound spans are dropped. The SDK reads the standard variables itself:
OTEL_EXPORTER_OTLP_*, OTEL_TRACES_SAMPLER, OTEL_BSP_*, OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES.
"""

import asyncio
import os
import threading
from collections.abc import Iterator, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client.core import CounterMetricFamily, Metric

CLOSE_SECONDS = 2.0
"""How long the last spans may take to leave, at the end."""
QUEUE, BATCH = 2048, 512
"""The SDK's own bounds, where OTEL_BSP_MAX_QUEUE_SIZE and OTEL_BSP_MAX_EXPORT_BATCH_SIZE say nothing."""


def resource(version: str) -> Resource:
    """Who speaks, by the standard variables; by our name where they say nothing."""
    found = Resource.create({SERVICE_VERSION: version})
    named = str(found.attributes[SERVICE_NAME])
    return found.merge(Resource({SERVICE_NAME: "evergreen"})) if "unknown" in named else found


class Counted(SpanExporter):
    """An exporter that counts what left and what was refused."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self.exported = self.failed = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """In the SDK's thread; blocks for as long as the collector takes, within OTEL_EXPORTER_OTLP_TIMEOUT."""
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            if result is SpanExportResult.SUCCESS:
                self.exported += len(spans)
            else:
                self.failed += len(spans)
        return result

    def shutdown(self) -> None:
        """End it."""
        self._exporter.shutdown()


class Export(SpanProcessor):
    """Takes spans that have ended, and counts what becomes of them."""

    def __init__(self, exporter: SpanExporter | None = None) -> None:
        self._counted = Counted(exporter or OTLPSpanExporter())
        self._most = int(os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE", QUEUE))
        batch = min(self._most, int(os.environ.get("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", BATCH)))
        self._batches = BatchSpanProcessor(
            self._counted, max_queue_size=self._most, max_export_batch_size=batch
        )
        self._taken = self._dropped = 0

    def on_end(self, span: ReadableSpan) -> None:
        """Take a span, or drop it where too many are on their way: the loop that ends spans must not wait."""
        under_way = self._taken - self._counted.exported - self._counted.failed
        if under_way >= self._most:
            self._dropped += 1
            return
        self._taken += 1
        self._batches.on_end(span)

    async def close(self) -> None:
        """Let the last spans leave, but not for long: a collector that is away must not hold up the end."""
        thread = threading.Thread(target=self._batches.shutdown, name="last spans", daemon=True)
        thread.start()
        await asyncio.to_thread(thread.join, CLOSE_SECONDS)

    def collect(self) -> Iterator[Metric]:
        """What a metrics registry asks for."""
        family = CounterMetricFamily(
            "inference_trace_spans",
            "Spans of traces by what became of them: exported, failed (the collector did not take them), dropped (too many).",
            labels=("outcome",),
        )
        counted = self._counted
        for outcome, count in (
            ("exported", counted.exported),
            ("failed", counted.failed),
            ("dropped", self._dropped),
        ):
            family.add_metric((outcome,), count)
        yield family
