"""The asking end of an engine's socket: one connection, many requests at a time. It must not know which version serves what.

infer -> frame out -> future -> frame in -> Answer, or the error that the engine named
"""

import asyncio
import itertools
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from models.errors import EvergreenError
from service import context, errors
from service.engine import wire
from service.engine.lanes import NORMAL
from service.snapshots import Snapshot

EngineChannel = wire.Channel[wire.EngineMessage]

GRACE = 0.05
"""The engine judges a deadline; the client waits this much longer (s) before it stops believing in an answer."""

MAX_BACKLOG = 64 * 1024 * 1024
"""Bytes that may wait for an engine to read them; one that has stopped must not fill the front end's memory."""

SWEEP_SECONDS = 0.05
"""How often the client looks for answers that are overdue: cheaper than a timer for each."""

_RETRIABLE = (errors.Unavailable, errors.QueueFull, errors.DeadlineUnmeetable)
_ERRORS: dict[str, type[EvergreenError]] = {cls.__name__: cls for cls in _RETRIABLE} | {
    cls.__name__: cls for cls in (errors.DeadlineExceeded, errors.EngineError)
}


class Answer(NamedTuple):
    """What an engine says: outputs [rows, ...] by name, seconds queued and computing, rows of the batch it ran in."""

    outputs: dict[str, np.ndarray]
    queue: float
    compute: float
    batch_rows: int


class Waiting(NamedTuple):
    """Who waits for an answer, and how long (s of time.monotonic())."""

    future: asyncio.Future[Any]
    due: float


class EngineClient:
    """A connection to one engine. `lost` is set once it has gone; a lost client is replaced, not repaired."""

    def __init__(self, on_ran: Callable[[wire.Ran], None] = lambda ran: None) -> None:
        self.report: dict[str, Any] = {}
        self._on_ran = on_ran
        self.lost = asyncio.Event()
        self._ids = itertools.count(1)
        self._waiting: dict[int, Waiting] = {}
        self._sweeping = False
        self._loop = asyncio.get_running_loop()
        self._hello: asyncio.Future[None] = self._loop.create_future()
        self._channel: EngineChannel = wire.Channel(
            wire.EngineMessage, self._on_message, self._on_lost
        )

    @classmethod
    async def connect(
        cls,
        path: str | Path,
        seconds: float = 5.0,
        on_ran: Callable[[wire.Ran], None] = lambda ran: None,
    ) -> "EngineClient":
        """Connect and wait for the engine's hello. OSError when nobody listens, EngineLost when none comes.

        `on_ran` hears of batches in which a traced request ran.
        """
        client = cls(on_ran)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                await loop.create_unix_connection(lambda: client._channel, str(path))
                await client._hello
        except BaseException as error:
            client.close()
            if isinstance(error, TimeoutError):
                raise errors.EngineLost(f"the engine said nothing for {seconds:g} s") from error
            raise
        return client

    @property
    def pending(self) -> int:
        """Requests that somebody still waits for: what was cancelled or has failed is forgotten later, by the sweep."""
        return sum(not waiting.future.done() for waiting in self._waiting.values())

    async def infer(
        self, tensors: wire.Tensors, outputs: list[str], deadline: float, priority: int = NORMAL
    ) -> Answer:
        """Run `tensors` [rows, ...] and return `outputs`. `deadline`: seconds of time.monotonic().

        Raises QueueFull, DeadlineUnmeetable, DeadlineExceeded, EngineError, or EngineLost when the engine ends
        first. Cancelling the caller cancels the request.
        """
        if deadline <= time.monotonic():
            raise errors.DeadlineExceeded("the deadline passed before the request could be sent")
        if self._channel.backlog > MAX_BACKLOG:
            raise errors.QueueFull("the engine does not take what it was sent already")
        heads, body = wire.pack(tensors)
        number = next(self._ids)
        request = context.current.get()
        trace = None if request is None else request.trace
        message = wire.Infer(number, heads, outputs, deadline, priority, trace)
        try:
            result, answer = await self._ask(number, message, body, deadline + GRACE)
        except asyncio.CancelledError:
            self._channel.send(wire.Cancel(number))
            raise
        return Answer(
            wire.unpack(result.tensors, answer), result.queue, result.compute, result.batch_rows
        )

    async def stats(self) -> Snapshot:
        """The engine's metrics."""
        number = next(self._ids)
        reply, _ = await self._ask(number, wire.StatsRequest(number))
        return msgspec.convert(reply.snapshot, Snapshot)

    def hold(self, requests: int) -> None:
        """For tests: start nothing until `requests` requests are queued."""
        self._channel.send(wire.Hold(requests))

    def close(self) -> None:
        """End the connection; what is still waiting fails with EngineLost."""
        self._channel.close()

    def _ask(
        self,
        number: int,
        message: Any,
        body: Sequence[bytes | memoryview] = (),
        due: float = math.inf,
    ) -> asyncio.Future[Any]:
        """Send `message`; the future of its answer, which fails when there is none by `due`."""
        if not self._channel.open:
            raise errors.EngineLost("the engine is gone")
        future: asyncio.Future[Any] = self._loop.create_future()
        self._waiting[number] = Waiting(future, due)
        self._channel.send(message, body)
        if not self._sweeping:
            self._sweeping = True
            self._loop.call_later(SWEEP_SECONDS, self._sweep)
        return future

    def _sweep(self) -> None:
        """Give up on answers that an engine which has stopped should have given: a living one judges deadlines itself.

        What its caller has given up on is forgotten here, too, whenever the answer comes.
        """
        now = time.monotonic()
        for number, (future, due) in list(self._waiting.items()):
            if future.done():
                del self._waiting[number]
            elif due <= now:
                self._channel.send(wire.Cancel(number))
                self._settle(number, errors.DeadlineExceeded("no answer before the deadline"))
        self._sweeping = bool(self._waiting)
        if self._sweeping:
            self._loop.call_later(SWEEP_SECONDS, self._sweep)

    def _on_message(
        self, channel: EngineChannel, message: wire.EngineMessage, body: memoryview
    ) -> None:
        match message:
            case wire.Hello():
                if message.protocol != wire.PROTOCOL:
                    channel.close()
                    return
                self.report = message.report
                if not self._hello.done():
                    self._hello.set_result(None)
            case wire.Result() | wire.Stats():
                self._settle(message.id, (message, body))
            case wire.Failure():
                self._settle(message.id, failure(message))
            case wire.Ran():
                self._on_ran(message)
            case _:
                channel.close()

    def _settle(self, number: int, outcome: Any) -> None:
        waiting = self._waiting.pop(number, None)
        if waiting is None or (future := waiting.future).done():  # cancelled meanwhile
            return
        if isinstance(outcome, Exception):
            future.set_exception(outcome)
        else:
            future.set_result(outcome)

    def _on_lost(self, channel: EngineChannel) -> None:
        self.lost.set()
        for future in (self._hello, *(waiting.future for waiting in self._waiting.values())):
            if not future.done():
                future.set_exception(errors.EngineLost("the engine ended before it answered"))
        if not self._hello.cancelled():
            self._hello.exception()  # somebody may have stopped waiting for it


def failure(message: wire.Failure) -> Exception:
    """The exception that a failure frame stands for."""
    kind = _ERRORS.get(message.kind, errors.EngineError)
    if issubclass(kind, errors.Unavailable):
        return kind(message.message, message.retry_after)
    return kind(message.message)
