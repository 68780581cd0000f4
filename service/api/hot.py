"""The one hot route, answered where its HTTP is parsed: uvicorn's protocol, which takes POST .../infer itself.

    plain POST .../infer -> Exchange -> InferRoute -> one write          everything else -> uvicorn -> Litestar

A framework's layers cost more than this request's own work: a scope, a cycle, two sends and three coroutines. So the plain case, a
body of known length that nobody queues behind, does without them. What is out of the ordinary (chunked, too large, pipelined,
`Expect`) goes the usual way, where the same `InferRoute` answers it.
"""

import asyncio
import http
import re
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from service.api import problems
from service.api.bounded import BoundedProtocol, Connections
from service.api.infer import InferRoute, answer_headers, read_headers
from service.api.telemetry import GONE, Call, fault, forwarded, http_call

PATH = re.compile(rb"/v2/models/([A-Za-z0-9._-]+)(?:/versions/([0-9]+))?/infer")
STATUS_LINES = {
    status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    for status in http.HTTPStatus
}

ROUTES = ("/v2/models/{name}/versions/{version}/infer", "/v2/models/{name}/infer")
"""What traces call the route: with a version, and without."""

Headers = list[tuple[bytes, bytes]]


class HotProtocol(BoundedProtocol):
    """A connection. Requests that are not plain infer requests are uvicorn's."""

    def __init__(self, route: InferRoute, connections: Connections, **uvicorn: Any) -> None:
        super().__init__(connections, **uvicorn)
        self._route = route

    def begin_request(self) -> None:
        """Decide who answers."""
        found = PATH.fullmatch(self.url) if self.parser.get_method() == b"POST" else None
        busy = self.cycle is not None and not self.cycle.response_complete
        if found is None or busy or self.expect_100_continue or self.parser.should_upgrade():
            self.leave_to_uvicorn()
            return
        headers = dict(reversed(self.headers))  # of two alike the first counts, as in the framework
        length = headers.get(b"content-length", b"")
        if not length.isdigit() or int(length) > self._route.max_body_bytes:
            self.leave_to_uvicorn()
            return
        allowed = self._route.allowed
        if allowed is not None and not allowed(headers.get(b"authorization")):
            self.leave_to_uvicorn()  # whose guard refuses it
            return
        exchange = Exchange(self, self._route, headers, found)
        # It is to this protocol what uvicorn's own cycle is; mypy cannot know.
        self.cycle = cast(RequestResponseCycle, exchange)


class Body:
    """The parts of a body; the protocol adds to it with +=. One part, the usual case, is not copied."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._length = 0

    def __iadd__(self, part: bytes) -> "Body":
        self._parts.append(part)
        self._length += len(part)
        return self

    def __len__(self) -> int:
        return self._length

    def whole(self) -> bytes:
        """All of it."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)


class Exchange:
    """One request and its answer, in the place of uvicorn's cycle: the protocol fills `body` and calls `set` when something has changed."""

    def __init__(
        self,
        protocol: HotProtocol,
        route: InferRoute,
        headers: dict[bytes, bytes],
        path: re.Match[bytes],
    ) -> None:
        self.body = Body()
        self.more_body = True
        self.disconnected = False
        self.response_complete = False
        # HTTP/1.0 would have to be told that it may stay, which uvicorn does not do either.
        self.keep_alive = (
            protocol.parser.get_http_version() != "1.0" and protocol.parser.should_keep_alive()
        )
        self._protocol = protocol
        self._default_headers = protocol.default_headers
        self._route = route
        self._headers = headers
        self._path = path
        self._task: asyncio.Task[None] | None = None

    @property
    def message_event(self) -> "Exchange":
        """What the protocol calls `set` on. No attribute: an object that holds itself is garbage that only the collector frees."""
        return self

    def set(self) -> None:
        """A part of the body came, all of it came, or the client has gone."""
        if self.disconnected:
            if self._task is not None:
                self._task.cancel()
        elif self.more_body:
            self._protocol.flow.resume_reading()
        elif self._task is None:
            # Nobody else has to hold it: a server that ends waits for its connections, and each for its exchange.
            self._task = self._protocol.loop.create_task(self._run())

    def client(self) -> str:
        """Who asks, for a canary's share."""
        headers = self._headers
        return self._route.callers.name(
            headers.get(b"evergreen-client", b"").decode("latin-1"),
            headers.get(b"x-forwarded-for", b"").decode("latin-1"),
            self._protocol.client,
        )

    async def _run(self) -> None:
        passage = self._route.telemetry.begin(self._call, self._headers.get)
        status = GONE
        try:
            status = await self._respond(None if passage is None else passage.request_id)
        finally:
            if passage is not None:
                passage.end(status, ROUTES[self._path[2] is None], failed=fault(status))

    def _call(self) -> Call:
        protocol, path = self._protocol, self._path[0].decode()
        peer = str(protocol.client[0]) if protocol.client else ""
        address = self._route.telemetry.callers.address(peer, forwarded(self._headers))
        return http_call("POST", path, protocol.scheme or "http", address)

    async def _respond(self, request_id: str | None) -> int:
        """Answer; returns the status."""
        name = self._path[1].decode()
        version = None if self._path[2] is None else self._path[2].decode()
        try:
            target = self._route.find(name, version, self.client)
            answer = await self._route.answer(
                target, read_headers(self._headers), self.body.whole()
            )
        except asyncio.CancelledError:
            if self.disconnected:
                return GONE
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer and the log the rest
            status, found, body = problems.render(self._path[0].decode(), error)
            headers = [(key.encode(), value.encode()) for key, value in found.items()]
        else:
            status, headers, body = 200, answer_headers(answer), answer.body
        if self.disconnected:
            return GONE
        if request_id is not None:
            headers.append((b"x-request-id", request_id.encode()))
        self._write(status, headers, body)
        if self._protocol.flow.write_paused:
            await self._protocol.flow.drain()
        self._end()
        return status

    def _write(self, status: int, headers: Headers, body: bytes) -> None:
        protocol = self._protocol
        parts = [STATUS_LINES[status]]
        for name, value in (*self._default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"content-length: %d\r\n" % len(body))
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
        parts += (b"\r\n", body)
        protocol.transport.write(b"".join(parts))

    def _end(self) -> None:
        self.response_complete = True
        if not self.keep_alive:
            self._protocol.transport.close()
        self._protocol.on_response_complete()
