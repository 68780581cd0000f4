"""Requests at a fixed rate, each timed from when it was due: a server that falls behind shows it. It must not know who answers."""

import asyncio
import time
from collections.abc import Sequence
from itertools import cycle
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy as np

from loadtests.overhead.bodies import Sent

PATIENCE_S = 10.0
"""How long the last answers are waited for."""


class Pace(NamedTuple):
    """What was sent, how much of it was not answered with 200, and milliseconds from when a request was due to its whole answer."""

    requests: int
    failures: int
    p50_ms: float
    p99_ms: float


def send(url: str, bodies: Sequence[Sent], per_second: float, seconds: float) -> Pace:
    """Send `bodies` in turn, `per_second` of them for `seconds`."""
    return asyncio.run(Sender(url, bodies).send(per_second, seconds))


class Sender:
    """Keeps connections open, and opens one more where all of them wait for an answer."""

    def __init__(self, url: str, bodies: Sequence[Sent]) -> None:
        self._parts = urlsplit(url)
        self._requests = cycle([self._request(body) for body in bodies])
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._opened: list[asyncio.StreamWriter] = []
        self._taken: list[float] = []
        self._failures = 0

    async def send(self, per_second: float, seconds: float) -> Pace:
        """The whole load."""
        begun, running = time.monotonic(), set[asyncio.Task[None]]()
        count = round(per_second * seconds)
        for number in range(count):
            due = begun + number / per_second
            await asyncio.sleep(due - time.monotonic())
            task = asyncio.create_task(self._one(next(self._requests), due))
            running.add(task)
            task.add_done_callback(running.discard)
        if running:
            _, late = await asyncio.wait(running, timeout=PATIENCE_S)
            for task in late:
                task.cancel()
            self._failures += len(late)
        for writer in self._opened:
            writer.close()
        closed = (writer.wait_closed() for writer in self._opened)
        await asyncio.gather(*closed, return_exceptions=True)
        p50, p99 = np.quantile(self._taken or [np.nan], (0.5, 0.99)) * 1000
        return Pace(count, self._failures, float(p50), float(p99))

    async def _one(self, request: bytes, due: float) -> None:
        try:
            connection = self._idle.pop() if self._idle else await self._connect()
            reader, writer = connection
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(length(head))
        except (OSError, ValueError, EOFError, asyncio.LimitOverrunError):
            self._failures += 1
            return
        self._idle.append(connection)
        if head.split(b" ", 2)[1] == b"200":
            self._taken.append(time.monotonic() - due)
        else:
            self._failures += 1

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        self._opened.append(writer)
        return reader, writer

    def _request(self, body: Sent) -> bytes:
        fields = {"Host": self._parts.netloc, "Content-Length": str(len(body.body)), **body.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"POST {self._parts.path} HTTP/1.1\r\n{lines}\r\n".encode() + body.body


def length(head: bytes) -> int:
    """How long the body behind this head is. ValueError where it does not say so."""
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    raise ValueError("an answer without Content-Length")
