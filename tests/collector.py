"""A collector of traces: an HTTP server that takes OTLP as protobuf and keeps the spans."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import live
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Told(NamedTuple):
    """A span as it came: ids as hexadecimal words, times in seconds since 1970."""

    name: str
    trace: str
    id: str
    parent: str
    state: str
    kind: int
    start: float
    end: float
    attributes: dict[str, Any]
    links: list[tuple[str, str]]
    failed: bool
    service: str


class Collector:
    """`url` is where it answers; it keeps `headers` of what came, and refuses with `status` where that is not 200."""

    def __init__(self) -> None:
        self.url = ""
        self.status = 200
        self.spans: list[Told] = []
        self.headers: list[dict[str, str]] = []
        self.paths: set[str] = set()

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        self.paths.add(path)
        self.headers.append(headers)
        if self.status == 200:
            self.spans += spans(ExportTraceServiceRequest.FromString(body))
        return self.status

    def named(self, name: str, trace: str | None = None) -> list[Told]:
        """The spans of a name, of one trace."""
        return [s for s in list(self.spans) if s.name == name and trace in (None, s.trace)]

    def wait(self, name: str, trace: str | None = None, count: int = 1) -> list[Told]:
        """Those spans, once there are `count`."""
        live.until(lambda: len(self.named(name, trace)) >= count, f"{count} spans '{name}'")
        return self.named(name, trace)


def spans(request: Any) -> Iterator[Told]:
    for one in request.resource_spans:
        service = {a.key: a.value.string_value for a in one.resource.attributes}["service.name"]
        for scope in one.scope_spans:
            for span in scope.spans:
                yield Told(
                    span.name,
                    span.trace_id.hex(),
                    span.span_id.hex(),
                    span.parent_span_id.hex(),
                    span.trace_state,
                    span.kind,
                    span.start_time_unix_nano / 1e9,
                    span.end_time_unix_nano / 1e9,
                    {a.key: value(a.value) for a in span.attributes},
                    [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
                    span.status.code == 2,
                    service,
                )


def value(any_value: Any) -> Any:
    return getattr(any_value, any_value.WhichOneof("value"))


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector on a free port, while the block runs."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = collector.take(self.path, dict(self.headers), body)
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
