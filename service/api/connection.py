"""What a connection says beside its body: that its client has gone, and how long the client will wait."""

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

from models.errors import InputError
from service.errors import ClientGone

T = TypeVar("T")

WATCH_AFTER = 0.02
"""Seconds after which a waiting request begins to listen whether its client is still there; most have been answered by then."""
MOST_MILLISECONDS = 86_400_000.0


async def unless_gone(receive: Any, work: Awaitable[T]) -> T:
    """The result of `work`; when the client disconnects first, `work` is cancelled and ClientGone raised.

    `receive` is the request's ASGI callable; its body must have been read to the end.
    """
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    watcher: asyncio.Task[None] | None = None
    gone = False

    async def watch() -> None:
        nonlocal gone
        message = await receive()
        if message["type"] == "http.disconnect" and task is not None:
            gone = True
            task.cancel()

    def begin() -> None:
        nonlocal watcher
        watcher = loop.create_task(watch())

    timer = loop.call_later(WATCH_AFTER, begin)
    try:
        return await work
    except asyncio.CancelledError:
        if not gone or task is None:
            raise
        task.uncancel()
        raise ClientGone("the client closed the connection") from None
    finally:
        timer.cancel()
        if watcher is not None:
            watcher.cancel()


def read_timeout(header: str | None) -> float | None:
    """`Request-Timeout-Ms` in seconds. Raises InputError when it is no positive number."""
    if header is None:
        return None
    try:
        milliseconds = 0.0 if "_" in header else float(header)
    except ValueError:
        milliseconds = 0.0
    if not 0 < milliseconds < MOST_MILLISECONDS:
        raise InputError(
            f"Request-Timeout-Ms is '{header[:40]}', a number of milliseconds above 0 "
            f"and below {MOST_MILLISECONDS:.0f} was expected"
        )
    return milliseconds / 1000
