"""Which requests are traced, and which spans hang on which."""

import time

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from service.context import RequestContext
from service.engine import wire
from service.tracing.tracer import Tracer

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=said"}
UNSAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-00"}


class Traced:
    """A tracer, and what it told."""

    def __init__(self, share: float | None = None) -> None:
        self._exporter = InMemorySpanExporter()
        self.tracer = Tracer(SimpleSpanProcessor(self._exporter), Resource.get_empty(), share)

    def spans(self, name: str) -> list[ReadableSpan]:
        return [one for one in self._exporter.get_finished_spans() if one.name == name]

    def request(self, **carrier: str) -> RequestContext:
        asked = RequestContext("called")
        asked.note("m", 3, "the-prediction", 2)
        span = self.tracer.begin(asked, "POST", carrier, {"http.request.method": "POST"})
        now = time.monotonic()
        asked.note_decoding(now - 0.25, now)
        if span is not None:
            span.end(asked, "POST /x", {"http.response.status_code": 200})
        return asked


def ids(span: ReadableSpan) -> tuple[str, str]:
    assert span.context is not None
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}"


def parent(span: ReadableSpan) -> str | None:
    return None if span.parent is None else f"{span.parent.span_id:016x}"


def test_a_request_continues_its_callers_trace():
    traced = Traced()
    asked = traced.request(**SAMPLED)
    (server,) = traced.spans("POST /x")
    assert (ids(server)[0], parent(server), server.kind) == (TRACE, PARENT, SpanKind.SERVER)
    assert asked.trace_id == TRACE
    assert asked.trace == (f"00-{TRACE}-{ids(server)[1]}-01", "vendor=said")
    assert server.attributes == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "inference.model.name": "m",
        "inference.model.version": 3,
        "inference.rows": 2,
        "inference.prediction_id": "the-prediction",
        "inference.request_id": "called",
    }
    (decode,) = traced.spans("decode")
    assert parent(decode) == ids(server)[1]
    assert decode.start_time is not None
    assert decode.end_time is not None
    assert decode.end_time - decode.start_time == pytest.approx(0.25e9, rel=1e-6)


@pytest.mark.parametrize("share", [None, 0.0, 1.0])
def test_who_sends_a_traceparent_has_decided(share: float | None):
    traced = Traced(share)
    assert traced.request(**UNSAMPLED).trace is None
    assert traced.request(**SAMPLED).trace is not None
    assert len(traced.spans("POST /x")) == 1


def test_the_share_decides_for_all_others():
    traced = Traced(0.25)
    asked = [traced.request() for _ in range(2000)]
    assert 380 < len(traced.spans("POST /x")) < 620
    assert all(one.trace_id for one in asked)  # log lines name the trace of those as well


@pytest.mark.parametrize(("sampler", "spans"), [("always_off", 0), ("always_on", 3)])
def test_without_a_share_the_environment_decides(
    monkeypatch: pytest.MonkeyPatch, sampler: str, spans: int
):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", sampler)
    traced = Traced()
    for _ in range(3):
        traced.request()
    assert len(traced.spans("POST /x")) == spans


def test_a_failed_request_says_so():
    traced = Traced()
    asked = RequestContext()
    span = traced.tracer.begin(asked, "POST", {}, {})
    assert span is not None
    span.end(asked, None, {"http.response.status_code": 503}, "503")
    (server,) = traced.spans("POST")
    assert (server.status.is_ok, (server.attributes or {})["error.type"]) == (False, "503")
    assert traced.spans("decode") == []


def test_a_batch_links_its_requests_and_they_link_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")  # says nothing about batches
    traced = Traced(0.0)
    asked = [traced.request(**SAMPLED) for _ in range(2)]
    now = time.monotonic()
    told = [
        wire.Traced(one.trace, now - 3 + i, bool(i)) for i, one in enumerate(asked) if one.trace
    ]
    device = {"provider": "cpu", "variant": "int8"}
    traced.tracer.ran(wire.Ran("m", 3, device, "16", 9, 5, now - 1, now, True, told))
    (batch,) = traced.spans("batch")
    servers = {ids(one) for one in traced.spans("POST /x")}
    linked = {(f"{k.context.trace_id:032x}", f"{k.context.span_id:016x}") for k in batch.links}
    assert (batch.parent, linked) == (None, servers)
    assert (batch.attributes or {})["inference.batch.rows"] == 9
    assert (batch.attributes or {})["inference.batch.requests"] == 5
    for name in ("queue", "compute"):
        assert {parent(one) for one in traced.spans(name)} == {id_ for _, id_ in servers}
    for compute in traced.spans("compute"):
        (link,) = compute.links
        assert f"{link.context.span_id:016x}" == ids(batch)[1]
        assert (compute.start_time, compute.end_time) == (batch.start_time, batch.end_time)
    assert [one.status.is_ok for one in traced.spans("compute")] == [True, False]
    queued = [(one.end_time or 0) - (one.start_time or 0) for one in traced.spans("queue")]
    assert queued == pytest.approx([2e9, 1e9], rel=1e-6)
