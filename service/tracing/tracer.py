"""What is told of a request and of a batch as spans. It must not know HTTP's or gRPC's bytes, or where spans go.

    request (server) ┬ decode
                     ├ queue
                     └ compute ──link──► batch ──links──► every traced request that ran in it

A front end makes all of them: a request's own from what it knows, the others from what an engine says of a batch that ran.
"""

import time
from collections.abc import Mapping

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBasedTraceIdRatio
from opentelemetry.trace import Link, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.context import RequestContext
from service.engine import wire

NAME = "evergreen"
PROPAGATOR = TraceContextTextMapPropagator()
CARRIED = ("traceparent", "tracestate")
"""W3C Trace Context's headers."""

Attributes = Mapping[str, str | int]


class RequestSpan:
    """A request that is traced, from its beginning to its end."""

    def __init__(self, tracer: "Tracer", span: trace.Span) -> None:
        self._tracer = tracer
        self._span = span

    def end(
        self,
        asked: RequestContext,
        name: str | None,
        attributes: Attributes,
        error: str | None = None,
    ) -> None:
        """It has been answered, or has failed by `error`. What is known only now: perhaps its `name`, `attributes`, and what `asked` has become."""
        span = self._span
        if name is not None:
            span.update_name(name)
        span.set_attributes({**attributes, **known(asked)})
        if asked.decoded:
            self._tracer.between("decode", trace.set_span_in_context(span), asked)
        if error is not None:
            span.set_attribute("error.type", error)
            span.set_status(Status(StatusCode.ERROR))
        span.end()


class Tracer:
    """The spans of one front end. `share`: of the requests that nobody has decided about, those that are traced; None: as the environment says."""

    def __init__(
        self, processor: SpanProcessor, resource: Resource, share: float | None = None
    ) -> None:
        sampler = None if share is None else ParentBasedTraceIdRatio(share)
        requests = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        # Whether a batch is told of has been decided with its requests.
        batches = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)
        for provider in (requests, batches):
            provider.add_span_processor(processor)
        self._requests, self._batches = requests.get_tracer(NAME), batches.get_tracer(NAME)

    def begin(
        self,
        asked: RequestContext,
        name: str,
        carrier: Mapping[str, str],
        attributes: Attributes,
    ) -> RequestSpan | None:
        """A request has come with the `carrier`'s traceparent and tracestate. None where it is not sampled; `asked` learns its trace anyway."""
        parent = PROPAGATOR.extract(carrier, Context()) if carrier else Context()
        span = self._requests.start_span(name, parent, SpanKind.SERVER, attributes)
        found = span.get_span_context()
        asked.trace_id = f"{found.trace_id:032x}"
        if not span.is_recording():
            return None
        parent_of_more = f"00-{asked.trace_id}-{found.span_id:016x}-01"
        asked.trace = (parent_of_more, found.trace_state.to_header())
        return RequestSpan(self, span)

    def between(self, name: str, parent: Context, asked: RequestContext) -> None:
        """A request's decoding."""
        offset = clock_offset()
        started = nanoseconds(asked.received, offset)
        span = self._requests.start_span(name, parent, start_time=started)
        span.end(nanoseconds(asked.decoded, offset))

    def ran(self, ran: wire.Ran) -> None:
        """An engine says that a batch has run."""
        offset = clock_offset()
        started, ended = nanoseconds(ran.started, offset), nanoseconds(ran.ended, offset)
        parents = [
            PROPAGATOR.extract(dict(zip(CARRIED, one.trace, strict=True)), Context())
            for one in ran.traced
        ]
        links = [Link(trace.get_current_span(parent).get_span_context()) for parent in parents]
        batch = self._batches.start_span(
            "batch", Context(), attributes=of_batch(ran), links=links, start_time=started
        )
        back = [Link(batch.get_span_context())]
        for one, parent in zip(ran.traced, parents, strict=True):
            arrived = nanoseconds(one.arrived, offset)
            queue = self._batches.start_span("queue", parent, start_time=arrived)
            queue.end(started)
            compute = self._batches.start_span(
                "compute", parent, attributes=of_batch(ran), links=back, start_time=started
            )
            if one.failed:
                compute.set_status(Status(StatusCode.ERROR))
            compute.end(ended)
        batch.end(ended)


def known(asked: RequestContext) -> dict[str, str | int]:
    """What is known of a request at its end, as attributes."""
    found: dict[str, str | int | None] = {
        "inference.model.name": asked.model,
        "inference.model.version": asked.version,
        "inference.rows": asked.rows or None,
        "inference.prediction_id": asked.prediction_id,
        "inference.request_id": asked.request_id,
    }
    return {name: value for name, value in found.items() if value is not None}


def of_batch(ran: wire.Ran) -> dict[str, str | int | bool]:
    """What is known of a batch, as attributes."""
    return {
        "inference.model.name": ran.model,
        "inference.model.version": ran.version,
        "inference.model.variant": ran.device["variant"],
        "inference.provider": ran.device["provider"],
        "inference.batch.bucket": ran.bucket,
        "inference.batch.rows": ran.rows,
        "inference.batch.requests": ran.requests,
        "inference.batch.whole": ran.whole,
    }


def clock_offset() -> int:
    """Nanoseconds from CLOCK_MONOTONIC, which all processes of a machine share, to the time of day, as it is set now."""
    return time.time_ns() - time.monotonic_ns()


def nanoseconds(monotonic: float, offset: int) -> int:
    """A moment of CLOCK_MONOTONIC (s) as spans have it."""
    return int(1e9 * monotonic) + offset
