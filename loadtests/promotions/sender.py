"""The load, as a program: requests at a rate that does not wait for answers, or as many as are answered. It must not know who answers.

`python -m loadtests.promotions.sender PORT REQUESTS CONNECTIONS SECONDS [RATE]` sends the requests in a file in turn, and says as JSON
what came of them: after SECONDS, or as soon as its input is closed. A request that finds no free connection waits for one, and its time
runs while it does.
"""

import asyncio
import contextlib
import random
import re
import statistics
import sys
import time
from array import array
from collections import Counter, deque
from pathlib import Path
from typing import cast

import msgspec
import uvloop

SEED = 7
DRAIN_SECONDS = 30.0
"""How long the last answers may take."""
RETRY_SECONDS = 0.05
HEAD_END = b"\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Sent(msgspec.Struct, frozen=True):
    """What came of the load. `failed` counts requests without a good answer, by what came instead. Times in ms."""

    seconds: float
    answered: int
    failed: dict[str, int]
    p50_ms: float
    p90_ms: float
    p99_ms: float
    longest_ms: float

    @property
    def per_second(self) -> float:
        """Good answers a second."""
        return self.answered / self.seconds

    @property
    def failures(self) -> int:
        """Requests without a good answer."""
        return sum(self.failed.values())


class Sender:
    """`rate` requests a second in a random order of gaps; without one, each connection sends as soon as it has its answer."""

    def __init__(self, port: int, requests: list[bytes], connections: int, rate: float | None):
        self._port = port
        self._requests = requests
        self._connections = connections
        self._rate = rate
        self._turn = 0
        self._all: set[Connection] = set()
        self._idle: list[Connection] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._due: deque[float] = deque()
        self._under_way = 0
        self._sending = False
        self._done = asyncio.Event()
        self._random = random.Random(SEED)
        self.taken = array("d")
        self.failed: Counter[str] = Counter()

    async def run(self, stop: asyncio.Event, seconds: float) -> Sent:
        """Send until `stop` is set, at most for `seconds`, and wait for the last answers."""
        for _ in range(self._connections):
            await self.connect()
        self._sending, begun = True, time.perf_counter()
        pacing = asyncio.create_task(self._pace())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), seconds)
        pacing.cancel()
        self._sending, took = False, time.perf_counter() - begun
        if self._open():
            self._done.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._done.wait(), DRAIN_SECONDS)
        if left := self._open():
            self.failed["no answer"] += left
            self._due.clear()
        for task in self._tasks:
            task.cancel()
        for connection in list(self._all):
            connection.close()
        return summary(took, self.taken, self.failed)

    async def connect(self) -> None:
        """One more connection."""
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: Connection(self), "127.0.0.1", self._port)

    def free(self, connection: "Connection") -> None:
        """A connection has nothing to do: give it what waits."""
        self._all.add(connection)
        if self._due:
            self._send(connection, self._due.popleft())
        elif self._sending and self._rate is None:
            self._send(connection, time.perf_counter())
        else:
            self._idle.append(connection)

    def lost(self, connection: "Connection", begun: float | None) -> None:
        """A connection has gone, and with it what was asked on it at `begun`."""
        self._all.discard(connection)
        if begun is not None:
            self.ended(begun, "connection lost")
        if connection in self._idle:
            self._idle.remove(connection)
        if self._sending or self._due:
            task = asyncio.create_task(self._reconnect())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def ended(self, begun: float, failure: str | None) -> None:
        """A request of `begun` has its answer, or will have none."""
        self._under_way -= 1
        if failure is None:
            self.taken.append(time.perf_counter() - begun)
        else:
            self.failed[failure] += 1
        if not self._open():
            self._done.set()

    def _open(self) -> int:
        """Requests that are due and not answered yet."""
        return self._under_way + len(self._due)

    async def _reconnect(self) -> None:
        while self._sending or self._due:
            try:
                await self.connect()
            except OSError:
                await asyncio.sleep(RETRY_SECONDS)
            else:
                return

    async def _pace(self) -> None:
        """Hand out requests when they are due, all that became due since it last ran."""
        if self._rate is None:
            for connection in [self._idle.pop() for _ in list(self._idle)]:
                self.free(connection)
            return
        due = time.perf_counter()
        while True:
            now = time.perf_counter()
            while due <= now:
                self._ask(now)
                due += self._random.expovariate(self._rate)
            await asyncio.sleep(due - now)

    def _ask(self, now: float) -> None:
        if self._idle:
            self._send(self._idle.pop(), now)
        else:
            self._due.append(now)

    def _send(self, connection: "Connection", begun: float) -> None:
        self._turn = (self._turn + 1) % len(self._requests)
        self._under_way += 1
        connection.send(self._requests[self._turn], begun)


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self, sender: Sender) -> None:
        self._sender = sender
        self._begun: float | None = None
        self._answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._sender.free(self)

    def send(self, request: bytes, begun: float) -> None:
        """Ask; the time runs from `begun`."""
        self._begun, self._answer = begun, b""
        self._transport.write(request)

    def close(self) -> None:
        """End it."""
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._answer = self._answer + data if self._answer else data
        if not whole(self._answer) or self._begun is None:
            return
        begun, self._begun = self._begun, None
        self._sender.ended(begun, failure(self._answer))
        self._sender.free(self)

    def connection_lost(self, error: Exception | None) -> None:
        begun, self._begun = self._begun, None
        self._sender.lost(self, begun)


def whole(answer: bytes) -> bool:
    """Whether all of an answer is there."""
    head, end, body = answer.partition(HEAD_END)
    length = LENGTH.search(head)
    return bool(end) and length is not None and len(body) >= int(length[1])


def failure(answer: bytes) -> str | None:
    """What an answer says if it is no good one."""
    status = answer[9:12]
    return None if status == b"200" else status.decode("latin-1")


def summary(seconds: float, taken: "array[float]", failed: Counter[str]) -> Sent:
    """The figures of a load."""
    times = sorted(1000 * one for one in taken)
    cuts = statistics.quantiles(times, n=100) if len(times) > 1 else [0.0] * 99
    p50, p90, p99 = (round(cuts[share - 1], 3) for share in (50, 90, 99))
    longest = round(times[-1], 3) if times else 0.0
    return Sent(seconds, len(times), dict(failed), p50, p90, p99, longest)


def prepared(path: str, bodies: list[bytes]) -> list[bytes]:
    """Whole requests for JSON `bodies`."""
    head = "POST {} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n"
    return [head.format(path, len(body)).encode() + body for body in bodies]


def main(arguments: list[str]) -> None:
    """Send until the input is closed."""
    port, file, connections, seconds, *rate = arguments
    requests = msgspec.msgpack.decode(Path(file).read_bytes(), type=list[bytes])

    async def send() -> Sent:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_reader(sys.stdin, stop.set)
        sender = Sender(int(port), requests, int(connections), float(rate[0]) if rate else None)
        return await sender.run(stop, float(seconds))

    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(send())) + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])
