"""Spans leave by a thread of their own: nobody waits for a collector, and every span is counted."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from service.context import RequestContext
from service.tracing import export
from service.tracing.export import Export
from service.tracing.tracer import Tracer


class Slow(SpanExporter):
    """A collector that answers when `release` is set; `result` is what it says."""

    def __init__(self) -> None:
        self.asked, self.release = threading.Event(), threading.Event()
        self.result: SpanExportResult | Exception = SpanExportResult.SUCCESS

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.release.wait(60)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Slow]:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    slow = Slow()
    yield slow
    slow.release.set()


def tell(exporting: Export, spans: int) -> None:
    tracer = Tracer(exporting, export.resource("1"), 1.0)
    for _ in range(spans):
        asked = RequestContext()
        span = tracer.begin(asked, "GET", {}, {})
        assert span is not None
        span.end(asked, None, {})


def counted(exporting: Export) -> dict[str, float]:
    return {one.labels["outcome"]: one.value for m in exporting.collect() for one in m.samples}


async def test_a_short_queue_goes_in_shorter_batches(slow: Slow, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE")  # whose default is more than the queue's 8
    await Export(slow).close()


async def test_a_collector_that_hangs_costs_spans_and_no_time(
    slow: Slow, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(export, "CLOSE_SECONDS", 0.1)
    exporting = Export(slow)
    tell(exporting, 4)
    assert await asyncio.to_thread(slow.asked.wait, 60)
    tell(exporting, 100)
    assert counted(exporting) == {"exported": 0, "failed": 0, "dropped": 96}
    await exporting.close()  # returns although the collector still has not answered
    slow.release.set()


@pytest.mark.parametrize("result", [SpanExportResult.FAILURE, ConnectionError("away")])
async def test_what_a_collector_refuses_is_counted(slow: Slow, result: SpanExportResult):
    exporting = Export(slow)
    slow.result = result
    slow.release.set()
    tell(exporting, 8)
    deadline = time.monotonic() + 60
    while counted(exporting)["failed"] < 8 and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert counted(exporting) == {"exported": 0, "failed": 8, "dropped": 0}
    slow.result = SpanExportResult.SUCCESS
    tell(exporting, 3)
    await exporting.close()  # the last ones leave at the end
    assert counted(exporting)["exported"] == 3


def test_the_service_is_called_as_the_standard_variables_say(monkeypatch: pytest.MonkeyPatch):
    assert export.resource("1.2").attributes["service.name"] == "evergreen"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=theirs,deployment.environment=x")
    told = export.resource("1.2").attributes
    assert (told["service.name"], told["service.version"]) == ("theirs", "1.2")
    assert told["deployment.environment"] == "x"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "named")
    assert export.resource("1.2").attributes["service.name"] == "named"
