"""A connection within limits: how long its client may take, how much it may send, how many there may be. It must not know what is asked.

    head in time, and short -> quota -> body in time, and within the memory for bodies -> whoever answers

Requests pay for none of this with a timer: once a second all connections are looked at, and those that wait too long for their clients
are closed. Where there is no room for another one, the idle and the waiting make it.
"""

import asyncio
import heapq
import time
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from service.api import problems
from service.api.callers import one_way
from service.api.pace import Pace
from service.api.quotas import Quotas, Standing
from service.edge import Limits
from service.refusals import Refusals

LOOK_SECONDS = 1.0
LAST_SECONDS = 0.5
"""When the service ends, an idle client has so long for a request that is on its way; with its answer it hears that the connection ends."""
SLICE = 500
"""Connections that are looked at before others get their turn."""
PROBES = (b"/v2/health/live", b"/v2/health/ready")  # who asks these counts towards no quota


class Connections:
    """The connections of a front end, and what holds for all of them."""

    def __init__(
        self,
        limits: Limits,
        counts: Refusals,
        quotas: Quotas | None = None,
        most: int | None = None,
    ) -> None:
        self.limits = limits
        self.counts = counts
        self.quotas = quotas
        self.most = limits.connections if most is None else min(most, limits.connections)
        self.proxied = False  # whether some proxy is believed
        self.pending = 0  # bytes of bodies whose requests have not been answered
        self.open: set[BoundedProtocol] = set()
        self.accompanied: Callable[[Any], Any] = lambda application: application
        """An application whose requests are told of as all others are."""
        counts.connections = self.open.__len__

    def make_room(self) -> bool:
        """Close a tenth of those that wait for their clients, those first that have been idle for longest. False: nobody waits."""
        waiting = (one for one in self.open if one.awaited() is not None)
        chosen = heapq.nsmallest(max(1, self.most // 10), waiting, BoundedProtocol.worth)
        for one in chosen:
            one.leave("limit")
        return bool(chosen)

    async def watch(self) -> None:
        """Close those whose clients take too long, for as long as this is not cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            for number, one in enumerate(list(self.open), 1):
                one.look(time.monotonic())
                if number % SLICE == 0:
                    await asyncio.sleep(0)


class Refused(Exception):
    """Raised into the parser: what else is in its buffer is nobody's request any more."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. Who answers is decided in `begin_request`, once the head is there."""

    def __init__(self, connections: Connections, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._all = connections
        self.url = b""
        self._messages = 0
        self._in_head = False
        self._loose_bytes = 0
        self._chunk = 0
        self._body_bytes = 0
        self._held = 0
        self._pace = Pace(connections.limits, time.monotonic())
        self._ending = False
        self._before: list[RequestResponseCycle] = []
        """Requests that another was sent behind, and that uvicorn forgets when the connection is lost."""
        self.default_headers: list[tuple[bytes, bytes]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Another one; where there is no room, somebody has to go."""
        super().connection_made(transport)  # type: ignore[arg-type]
        crowded = len(self._all.open) >= self._all.most and not self._all.make_room()
        self._all.open.add(self)
        if crowded:
            self.refuse(503, "this front end has no room for another connection", "limit")

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended, by whomever."""
        self._all.open.discard(self)
        self._release()
        for cycle in self._before:
            cycle.disconnected = True
            cycle.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes. A head, or trailers, that go on without end are never handed over whole, so they are counted here."""
        self._chunk = len(data)
        self._loose_bytes += self._chunk
        super().data_received(data)
        if self._loose_bytes > self._all.limits.header_bytes:
            cycle = self.cycle
            if self._in_head or (cycle is not None and cycle.more_body):
                self._refuse_head(f"more than {self._loose_bytes:,} bytes")

    def on_message_begin(self) -> None:
        """A request begins. Its scope is made once it is known that uvicorn answers it."""
        self._messages += 1
        self._in_head = True
        self._loose_bytes, self._body_bytes = self._chunk, 0
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """The head is there: within its limits, and its client within its quota, it is answered."""
        self._in_head = False
        limits = self._all.limits
        if len(self.headers) > limits.headers:
            self._refuse_head(f"{len(self.headers)} headers")
            raise Refused
        if self._loose_bytes > limits.header_bytes:  # else it cannot be too long
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > limits.header_bytes:
                self._refuse_head(f"{size:,} bytes")
                raise Refused
        self._loose_bytes = 0
        if self._all.proxied:
            self.headers = one_way(self.headers)
        self.default_headers = self.server_state.default_headers
        if self._all.quotas is not None and self.url not in PROBES:
            standing = self._ask(self._all.quotas)
            if not standing.allowed:
                self._answer_by_itself(standing)
                return
        self.begin_request()
        self.headers = []  # trailers are nobody's headers
        if self._ending:
            self.cycle.keep_alive = False

    def begin_request(self) -> None:
        """Decide who answers."""
        self.leave_to_uvicorn()

    def leave_to_uvicorn(self) -> None:
        """Let uvicorn hand the request to its application."""
        url, headers, expected = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expected
        self.headers += headers  # in place: the scope holds this list
        if self.cycle is not None and not self.cycle.response_complete:
            self._before.append(self.cycle)
        super().on_headers_complete()
        self.cycle.default_headers = self.default_headers

    def on_body(self, body: bytes) -> None:
        """A part of a body. Bodies without an answer share a bounded memory."""
        self._loose_bytes = 0
        if self.cycle.response_complete:  # nobody keeps it
            return
        size = len(body)
        self._body_bytes += size
        self._held += size
        self._all.pending += size
        if self._all.pending > self._all.limits.pending_mb << 20:
            self.refuse(503, "the bodies of other requests take all memory there is", "memory")
            raise Refused
        super().on_body(body)

    def on_response_complete(self) -> None:
        """The request was answered, and its body is gone."""
        self._release()
        if self._before and not self.pipeline:
            self._before.clear()
        super().on_response_complete()

    def shutdown(self) -> None:
        """The service ends. A request that is under way is the connection's last one; an idle connection has a moment for one."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        elif not self._ending:
            self._ending = True
            self.loop.call_later(LAST_SECONDS, self._end_if_idle)

    def _end_if_idle(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Tell that this is no HTTP, where nothing else has been told."""
        if not self.transport.is_closing():
            self._all.counts.close("malformed")
            super().send_400_response(msg)

    def awaited(self) -> str | None:
        """What the connection waits for its client to do; None while the client waits."""
        cycle = self.cycle
        if cycle is not None and cycle.more_body:
            return None if self.flow.read_paused else "body"
        if cycle is not None and (not cycle.response_complete or self.pipeline):
            return None
        if self._in_head or self.timeout_keep_alive_task is None:
            return "headers"
        return "request"

    def worth(self) -> tuple[bool, float]:
        """The least goes first where room is needed: the idle, then who takes longest over a request."""
        timer = self.timeout_keep_alive_task
        return (False, timer.when()) if timer is not None else (True, self._pace.since)

    def look(self, now: float) -> None:
        """Close the connection where its client has taken too long."""
        waits, unsent = self.awaited(), self.transport.get_write_buffer_size()
        if self.transport.is_closing():
            waits = "end"
        elif unsent and waits in (None, "request"):
            waits = "reading"
        if not self._pace.late(waits, self._messages, self._body_bytes, unsent, now):
            return
        if waits == "headers":
            self._leave_slow("headers", self._all.limits.header_timeout_s)
        elif waits == "body":
            self._leave_slow("body", self._all.limits.body_timeout_s)
        else:
            self._all.counts.close("unread answer")
            self.transport.abort()

    def leave(self, reason: str) -> None:
        """Close the connection, on which nobody waits for an answer."""
        self._all.open.discard(self)
        self._all.counts.close(reason)
        self._forget()
        self.transport.close()

    def refuse(self, status: int, detail: str, reason: str) -> None:
        """Answer in the place of whoever would have, and end the connection."""
        if self.transport.is_closing():
            return
        path = self.url.decode("latin-1")
        headers = {"connection": "close"} | ({"retry-after": "1"} if status == 503 else {})
        cycle = self.cycle  # the last request's, where this one's head is not there yet
        own = cycle is not None and (cycle.more_body or not cycle.response_complete)
        begun = own and getattr(cycle, "response_started", False)
        self._forget()
        if not begun:
            self.transport.write(problems.as_http(problems.answer(path, status, detail, headers)))
        self._all.counts.close(reason)
        self.transport.close()

    def _leave_slow(self, what: str, seconds: float) -> None:
        if self._messages and (what == "body" or self._in_head):
            detail = f"the {what} of the request did not come within {seconds:g} s"
            self.refuse(408, detail, f"slow {what}")
        else:
            self.leave(f"slow {what}")

    def _refuse_head(self, size: str) -> None:
        limits = self._all.limits
        most = f"{limits.header_bytes:,} bytes in {limits.headers} headers"
        self.refuse(431, f"the head of the request has {size}, the limit is {most}", "headers")

    def _ask(self, quotas: Quotas) -> Standing:
        peer = self.client[0] if self.client else ""
        standing = quotas.ask_of(dict(reversed(self.headers)), peer)
        self.default_headers = [*self.default_headers, *standing.headers()]
        return standing

    def _answer_by_itself(self, standing: Standing) -> None:
        """429, on a connection that stays."""
        told = problems.answer(self.url.decode("latin-1"), 429, standing.refusal, {})
        application, self.app = self.app, self._all.accompanied(problems.application(told))
        try:
            self.leave_to_uvicorn()
        finally:
            self.app = application

    def _forget(self) -> None:
        """Whoever works on a request of this connection hears that its client has gone."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _release(self) -> None:
        self._all.pending -= self._held
        self._held = 0
