"""The load: callers on connections of their own, each of which asks as soon as it is answered, and judges what it gets.

connect -> question -> answer -> judged -> the next question on the same connection, or a new one where it was closed
"""

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence

from loadtests.torture.asking import Answer, Question, judge
from loadtests.torture.found import Bin, Outcome, Tally

BIN_S = 0.1
PATIENCE_S = 60.0
"""An answer that takes longer is lost: twice what the service allows itself."""
CONNECT_S = 10.0
AGAIN_S = 0.02
"""Until a caller that was refused, or not let in, asks again."""


class Load:
    """What callers meet. `begun`: time.monotonic() of the scenario's begin; `cut` tells whether a connection was cut on purpose."""

    def __init__(self, port: int, questions: Sequence[Question], begun: float) -> None:
        self.port = port
        self.begun = begun
        self.tallies: dict[str, Tally] = {}
        self.courses: dict[str, list[Bin]] = {}
        self.statuses: Counter[str] = Counter()
        self.killed_at = -1.0
        """When a process that holds connections was last killed on purpose."""
        self.pause: Callable[[], float] = lambda: 0.0
        """How long a caller rests after an answer."""
        self._questions = itertools.cycle(questions)
        self._going = True
        self._open: dict[int, tuple[str, float]] = {}
        self._numbers = itertools.count()
        self._ended, self._milestone = 0, 0
        self._passed = asyncio.Event()

    @property
    def requests(self) -> int:
        """All that came to an end."""
        return self._ended

    async def ask(self, question: Question) -> Outcome:
        """One question on a connection of its own."""
        return await self._on(None, question)

    async def call(self) -> None:
        """A caller, until the load ends."""
        connection: Connection | None = None
        try:
            while self._going:
                connection = connection or Connection(self.port)
                outcome = await self._on(connection, next(self._questions))
                if not connection.open:
                    connection = None
                rest = self.pause() if outcome == "right" else AGAIN_S
                if rest:
                    await asyncio.sleep(rest)
        finally:
            if connection is not None:
                connection.close()

    async def look(self) -> None:
        """Note how long the oldest open request of each model has waited, for as long as this is not cancelled."""
        while True:
            now = time.monotonic()
            for model, began in list(self._open.values()):
                current = self._bin(model, now)
                current.oldest = max(current.oldest, now - began)
            await asyncio.sleep(BIN_S / 2)

    async def reached(self, requests: int) -> None:
        """Returns when so many have come to an end."""
        if self._ended < requests:
            self._milestone = requests
            self._passed.clear()
            await self._passed.wait()

    def end(self) -> None:
        """Callers stop after the answer that they wait for."""
        self._going = False

    async def _on(self, kept: "Connection | None", question: Question) -> Outcome:
        connection = kept or Connection(self.port)
        number, began = next(self._numbers), time.monotonic()
        self._open[number] = (question.model, began)
        try:
            outcome, what = await self._outcome(connection, question, began)
        finally:
            del self._open[number]
            if kept is None:
                connection.close()
        self._note(question.model, outcome, what)
        return outcome

    async def _outcome(
        self, connection: "Connection", question: Question, began: float
    ) -> tuple[Outcome, str]:
        try:
            await connection.opened()
        except (OSError, TimeoutError) as error:
            return "unreached", str(error)
        try:
            async with asyncio.timeout(PATIENCE_S):
                answer = await connection.exchange(question.message)
        except (OSError, EOFError, TimeoutError) as error:
            connection.close()
            what = f"{question.kind}: {type(error).__name__} after {time.monotonic() - began:.2f} s"
            return ("cut" if self.killed_at > began else "lost"), f"{what} {connection.about}"
        self.statuses[str(answer.status)] += 1
        return judge(question, answer)

    def _note(self, model: str, outcome: Outcome, what: str) -> None:
        self.tallies.setdefault(model, Tally()).count(outcome, what)
        self._ended += 1
        if self._ended == self._milestone:
            self._passed.set()
        current = self._bin(model, time.monotonic())
        kind = outcome if outcome in ("right", "refused", "unreached") else "other"
        setattr(current, kind, getattr(current, kind) + 1)

    def _bin(self, model: str, now: float) -> Bin:
        course = self.courses.setdefault(model, [])
        index = int((now - self.begun) / BIN_S)
        course.extend(Bin() for _ in range(index + 1 - len(course)))
        return course[index]


class Connection:
    """One keep-alive connection of HTTP/1.1."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._asked = 0
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def open(self) -> bool:
        """Whether another request may be sent."""
        return self._writer is not None and not self._writer.is_closing()

    @property
    def about(self) -> str:
        """For a person."""
        return f"as request {self._asked} of its connection"

    async def opened(self) -> None:
        """Connect, where that has not been done."""
        if self._writer is None:
            async with asyncio.timeout(CONNECT_S):
                opening = asyncio.open_connection("127.0.0.1", self._port)
                self._reader, self._writer = await opening

    async def exchange(self, message: bytes) -> Answer:
        """Send, and wait for the whole answer. EOFError or OSError when the other end goes before."""
        assert self._reader is not None
        assert self._writer is not None
        self._asked += 1
        self._writer.write(message)
        head = await self._reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        headers = {}
        for line in lines:
            name, _, value = line.partition(b": ")
            headers[name.lower()] = value
        body = await self._reader.readexactly(int(headers[b"content-length"]))
        if headers.get(b"connection") == b"close":
            self.close()
        return Answer(int(first[9:12]), headers, body)

    def close(self) -> None:
        """End it."""
        if self._writer is not None:
            self._writer.transport.abort()


@contextlib.asynccontextmanager
async def calling(load: Load, callers: int) -> AsyncIterator[None]:
    """So many callers while the block runs; all of them have their last answer at its end."""
    looking = asyncio.create_task(load.look())
    calls = [asyncio.create_task(load.call()) for _ in range(callers)]
    try:
        yield
    finally:
        load.end()
        await asyncio.gather(*calls)
        looking.cancel()
