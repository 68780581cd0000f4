"""The socket between control and the front ends: either end asks, the other answers. It must not know what is asked.

An error that was raised on purpose arrives as what it was raised as.

Control asks a front end to take a routing table (the reply is its acknowledgement) or for its metrics; a front end asks control
for what is the same whichever front end was hit: the metrics page, and every change of state.
"""

import asyncio
import itertools
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from models.errors import EvergreenError
from service import context
from service.context import RequestContext
from service.engine import wire
from service.errors import Unavailable

log = logging.getLogger(__name__)

Handler = Callable[[Any], Awaitable[Any]]


class Ask(msgspec.Struct, tag="ask", array_like=True):
    """A question; `what` names the handler, `ids` the request that it is asked for, so that both ends log the same."""

    id: int
    what: str
    body: Any = None
    ids: tuple[str | None, str | None] | None = None


class Told(msgspec.Struct, tag="told", array_like=True):
    """The answer to `id`: a body, or the sentence why there is none, and which of our errors said it."""

    id: int
    body: Any = None
    error: str | None = None
    kind: str = ""
    retry_after: float = 1.0


class Link:
    """One end. `handlers` answer what the other end, `peer`, asks; `lost` is set when it has gone."""

    def __init__(self, handlers: Mapping[str, Handler], peer: str = "control") -> None:
        self._peer = peer
        self.lost = asyncio.Event()
        self.opened = asyncio.Event()
        self._handlers = handlers
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.channel: wire.Channel[Ask | Told] = wire.Channel(
            Ask | Told, self._on_message, self._on_lost, lambda channel: self.opened.set()
        )

    @classmethod
    async def connect(cls, path: str, handlers: Mapping[str, Handler]) -> "Link":
        """Connect to control. OSError when it does not listen."""
        link = cls(handlers)
        await asyncio.get_running_loop().create_unix_connection(lambda: link.channel, path)
        return link

    async def ask(self, what: str, body: Any = None, seconds: float = 10.0) -> Any:
        """The other end's answer. Raises what it raised, or Unavailable when it has gone, takes too long, or met a defect."""
        if not self.channel.open:
            raise Unavailable(f"{self._peer} cannot be reached")
        number = next(self._ids)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        request = context.current.get()
        ids = None if request is None else (request.request_id, request.trace_id)
        self.channel.send(Ask(number, what, body, ids))
        try:
            return await asyncio.wait_for(future, seconds)
        except TimeoutError as error:
            raise Unavailable(
                f"{self._peer} did not answer '{what}' within {seconds:g} s"
            ) from error
        finally:
            self._waiting.pop(number, None)

    def close(self) -> None:
        """End the connection."""
        self.channel.close()

    def _on_message(self, channel: Any, message: Ask | Told, body: memoryview) -> None:
        if isinstance(message, Ask):
            task = asyncio.create_task(self._answer(message))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            return
        future = self._waiting.get(message.id)
        if future is None or future.done():
            return
        if message.error is None:
            future.set_result(message.body)
        else:
            future.set_exception(raised(message))

    async def _answer(self, ask: Ask) -> None:
        if ask.ids is not None:  # this task's own
            context.current.set(RequestContext(*ask.ids))
        try:
            told = Told(ask.id, await self._handlers[ask.what](ask.body))
        except EvergreenError as error:
            after = getattr(error, "retry_after", 1.0)
            told = Told(ask.id, None, str(error), type(error).__name__, after)
        except Exception:
            log.exception("a question from the other end failed", extra={"what": ask.what})
            told = Told(ask.id, error=f"'{ask.what}' failed; the log says why")
        self.channel.send(told)

    def _on_lost(self, channel: Any) -> None:
        self.lost.set()
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Unavailable(f"{self._peer} has gone"))


def raised(told: Told) -> EvergreenError:
    """The error that an answer stands for. Of a class that is not known here the closest known one would be a guess: Unavailable."""
    kind, sentence = known(EvergreenError).get(told.kind, Unavailable), told.error or ""
    if issubclass(kind, Unavailable):
        return kind(sentence, told.retry_after)
    return kind(sentence)


def known(root: type[EvergreenError]) -> dict[str, type[EvergreenError]]:
    """`root` and every error derived from it, by name."""
    found = {root.__name__: root}
    for kind in root.__subclasses__():
        found |= known(kind)
    return found
