"""What goes with every request, whoever answers it: its ids, its trace, its line in the access log. It must not know what is asked.

    begin -> the task's context is set -> the request is answered -> end: a span, a line

Where nobody wants any of it and the caller sends no id, `begin` is two looks into the headers.
"""

import importlib.metadata
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from service import context
from service.api.callers import Callers
from service.context import RequestContext
from service.errors import SettingsError
from service.routing import Router
from service.settings import Settings
from service.tallies import FrontEndMetrics

if TYPE_CHECKING:  # what it needs is installed only where it is wanted
    from service.tracing.tracer import RequestSpan, Tracer

log = logging.getLogger("service.access")

VERSION = importlib.metadata.version("evergreen-serving")
PROTOCOL = "http/protobuf"
NEEDED = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")
QUIET = ("/metrics", "/v2/health/")
"""Paths that are asked every few seconds, and of which neither a trace nor a line tells anything."""
GONE = 499
"""What the access log calls a request whose client did not wait for the answer."""

LONGEST_PATH = 256
"""Characters of a path that a line shows."""

Header = Callable[[bytes], bytes | None]


class Call(NamedTuple):
    """A request as its protocol tells of it when it begins. `name`: what its span is called until its route is known."""

    name: str
    method: str
    path: str
    attributes: Mapping[str, str | int]


class Telemetry:
    """What one front end tells of its requests. `callers`: knows where they come from, past trusted proxies."""

    def __init__(self, settings: Settings, callers: Callers | None = None) -> None:
        self.callers = callers or Callers()
        self._settings = settings
        self._access_log = settings.access_log
        self._tracer: Tracer | None = None
        if settings.access_log:
            log.setLevel(logging.INFO)

    @asynccontextmanager
    async def running(self, router: Router, counts: FrontEndMetrics) -> AsyncIterator[None]:
        """Export traces while the block runs, where the settings ask for them."""
        if not tracing(self._settings):
            yield
            return
        from service.tracing import export
        from service.tracing.tracer import Tracer

        exporting = export.Export()
        counts.registry.register(exporting)
        tracer = Tracer(exporting, export.resource(VERSION), self._settings.trace_share)
        self._tracer, router.on_ran = tracer, tracer.ran
        try:
            yield
        finally:
            self._tracer = None
            await exporting.close()

    def begin(self, call: Callable[[], Call], header: Header) -> "Passage | None":
        """A request has come. None where nothing has to be told of it; else the running task's context is set.

        `header`: the value of one of its headers, by its name in lower case.
        """
        given, parent = header(b"x-request-id"), header(b"traceparent")
        tracer = self._tracer
        if given is None and parent is None and tracer is None and not self._access_log:
            return None
        known = RequestContext(context.read_request_id(given), context.read_trace_id(parent))
        context.current.set(known)
        told = call()
        if told.path.startswith(QUIET):
            return Passage(known, told, None, access_log=False)
        span = None
        if tracer is not None:
            names = ("traceparent", "tracestate")
            found = {name: header(name.encode()) for name in names} if parent else {}
            carrier = {name: value.decode("latin-1") for name, value in found.items() if value}
            span = tracer.begin(known, told.name, carrier, told.attributes)
        return Passage(known, told, span, access_log=self._access_log)


class Passage:
    """A request under way, of which something will be told."""

    def __init__(
        self,
        known: RequestContext,
        call: Call,
        span: "RequestSpan | None",
        *,
        access_log: bool,
    ) -> None:
        self.request_id = known.request_id
        self._known = known
        self._call = call
        self._span = span
        self._access_log = access_log
        self._began = time.monotonic()

    def end(
        self, status: int | str, route: str | None = None, *, failed: str | None = None
    ) -> None:
        """It was answered with `status`, HTTP's on a `route` or gRPC's; `failed` where the server is at fault."""
        if self._span is not None:
            protocol = "http" if isinstance(status, int) else "rpc"
            found: dict[str, int | str] = {f"{protocol}.response.status_code": status}
            name = None
            if route is not None:
                found["http.route"], name = route, f"{self._call.method} {route}"
            self._span.end(self._known, name, found, failed)
        if self._access_log:
            log.info("request", extra=self._line(status))

    def _line(self, status: int | str) -> dict[str, Any]:
        known, call = self._known, self._call
        line = {
            "method": call.method,
            "path": call.path[:LONGEST_PATH],
            "status": status,
            "ms": round(1000 * (time.monotonic() - self._began), 3),
            "client": call.attributes.get("client.address"),
            "model": known.model,
            "version": known.version,
            "rows": known.rows or None,
            "prediction_id": known.prediction_id,
        }
        return {name: value for name, value in line.items() if value is not None}


def fault(status: int) -> str | None:
    """What a span says of a status by which the server is at fault: the status, where nothing better is known."""
    return str(status) if status >= 500 else None


class Accompanied:
    """An ASGI application whose requests are told of."""

    def __init__(self, application: Any, telemetry: Telemetry) -> None:
        self._application = application
        self._telemetry = telemetry

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request, or the lifespan."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        headers = dict(reversed(scope["headers"]))
        passage = self._telemetry.begin(lambda: self._called(scope, headers), headers.get)
        if passage is None:
            await self._application(scope, receive, send)
            return
        status = GONE

        async def sending(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if passage.request_id is not None:
                    named = (b"x-request-id", passage.request_id.encode())
                    message = message | {"headers": [*message.get("headers", ()), named]}
            await send(message)

        try:
            await self._application(scope, receive, sending)
        finally:
            passage.end(status, scope.get("path_template"), failed=fault(status))

    def _called(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> Call:
        peer = str(client[0]) if (client := scope.get("client")) else ""
        address = self._telemetry.callers.address(peer, forwarded(headers))
        return http_call(scope["method"], scope["path"], scope["scheme"], address)


def http_call(method: str, path: str, scheme: str, address: str) -> Call:
    """An HTTP request in the words of OpenTelemetry's conventions."""
    found: dict[str, str | int] = {
        "http.request.method": method,
        "url.path": path,
        "url.scheme": scheme,
        "client.address": address,
    }
    return Call(method, method, path, found)


def forwarded(headers: Mapping[bytes, bytes]) -> str:
    """What proxies say of where a request comes from."""
    return headers.get(b"x-forwarded-for", b"").decode("latin-1")


def tracing(settings: Settings, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether requests are traced: OTEL_SDK_DISABLED=true ends it everywhere."""
    return settings.trace and environ.get("OTEL_SDK_DISABLED", "").lower() != "true"


def check(settings: Settings, environ: Mapping[str, str] = os.environ) -> None:
    """Raise SettingsError where traces are asked for and cannot be told."""
    if not tracing(settings, environ):
        return
    for name in NEEDED:
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError as error:
            raise SettingsError(
                f"trace is set, but {name} is not installed: pip install -e '.[trace]'"
            ) from error
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if (asked := environ.get(name, PROTOCOL)) != PROTOCOL:
            raise SettingsError(f"{name} is '{asked[:40]}', traces are told as {PROTOCOL} only")
    for name in ("OTEL_BSP_MAX_QUEUE_SIZE", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"):
        most = environ.get(name, "1")
        if not (most.isascii() and most.isdecimal() and int(most) > 0):
            raise SettingsError(f"{name} is '{most[:40]}', a number above 0 was expected")
