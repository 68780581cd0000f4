"""What a caller may call its request, and which trace it says that it belongs to."""

import logging

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service import context, logs
from service.context import RequestContext, read_request_id, read_trace_id

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
WORDS = st.sampled_from(["00", "01", "ff", TRACE, SPAN, "0" * 32, "0" * 16, "", "x", "-", "0A"])


@given(st.lists(WORDS, max_size=6))
@example(["00", TRACE, SPAN, "01"])
@example(["00", TRACE, SPAN, "00"])
@example(["00", TRACE, SPAN, "01", "more"])
@example(["01", TRACE, SPAN, "01", "more"])
@example(["ff", TRACE, SPAN, "01"])
@example(["00", "0" * 32, SPAN, "01"])
@example(["00", TRACE, "0" * 16, "01"])
def test_a_traceparent_is_read_as_opentelemetry_reads_it(words: list[str]):
    header = "-".join(words)
    found = TraceContextTextMapPropagator().extract({"traceparent": header}, Context())
    theirs = trace.get_current_span(found).get_span_context()
    expected = f"{theirs.trace_id:032x}" if theirs.is_valid else None
    assert read_trace_id(header.encode()) == expected


@pytest.mark.parametrize("good", ["a", "7d6b-4c", "01a1ffab:76dd/7764=", "x" * 128])
def test_a_short_word_is_a_request_id(good: str):
    assert read_request_id(good.encode()) == good


@pytest.mark.parametrize("bad", [b"", b"x" * 129, b"a b", b"a\nb", b"\xe4", b"a\x00", None])
def test_what_is_no_short_word_is_none(bad: bytes | None):
    assert read_request_id(bad) is None


def test_a_log_line_carries_the_ids_of_the_request_that_is_worked_on():
    record = logging.makeLogRecord({"msg": "said", "name": "x"})
    before = logs.JsonFormatter().format(record)
    token = context.current.set(RequestContext("mine", TRACE))
    try:
        during = logs.JsonFormatter().format(record)
    finally:
        context.current.reset(token)
    assert "request_id" not in before
    assert f'"request_id":"mine","trace_id":"{TRACE}"' in during
