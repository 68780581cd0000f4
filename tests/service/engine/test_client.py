"""The asking end against an engine that a test plays: what it sends, whom it believes, and what it forgets."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service import errors
from service.engine import client as clients
from service.engine import wire
from service.engine.client import EngineClient
from service.engine.lanes import HIGH

X = {"x": np.ones((2, 3), np.float32)}
OUT = ["y"]
PATIENCE = 10.0


class Engine:
    """Listens, says hello unless told otherwise, keeps what it is sent, and answers when a test says so."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.hello: Any = wire.Hello(wire.PROTOCOL, {"variant": "fp32"})
        self.heard: asyncio.Queue[Any] = asyncio.Queue()
        self.channels: list[wire.Channel] = []

    def accept(self) -> wire.Channel:
        def opened(channel: wire.Channel) -> None:
            self.channels.append(channel)
            if self.hello is not None:
                channel.send(self.hello)

        return wire.Channel(
            wire.EngineMessage,
            lambda _, message, body: self.heard.put_nowait(message),
            lambda _: None,
            opened,
        )

    async def hears(self) -> Any:
        async with asyncio.timeout(PATIENCE):
            return await self.heard.get()

    def say(self, message: Any, body: Any = ()) -> None:
        self.channels[-1].send(message, body)

    def answer(self, number: int, array: np.ndarray) -> None:
        heads, body = wire.pack({"y": array})
        self.say(wire.Result(number, heads, 0.25, 0.5, 4), body)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    engine = Engine(tmp_path / "engine")
    server = await asyncio.get_running_loop().create_unix_server(engine.accept, str(engine.path))
    yield engine
    server.close()
    for channel in engine.channels:
        channel.close()
    await asyncio.sleep(0)


@pytest.fixture
async def client(engine: Engine) -> AsyncIterator[EngineClient]:
    client = await EngineClient.connect(engine.path)
    yield client
    client.close()


def within(seconds: float = PATIENCE) -> float:
    return time.monotonic() + seconds


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.001)


async def test_answers_find_their_requests_in_whatever_order_they_come(
    engine: Engine, client: EngineClient
):
    assert client.report == {"variant": "fp32"}
    asking = [asyncio.create_task(client.infer(X, OUT, within(), HIGH)) for _ in range(3)]
    heard = [await engine.hears() for _ in asking]
    assert [(one.outputs, one.priority) for one in heard] == [(OUT, HIGH)] * 3
    assert client.pending == 3
    for place in (2, 0, 1):
        engine.answer(heard[place].id, np.array([place]))
    answers = await asyncio.gather(*asking)
    assert [answer.outputs["y"].tolist() for answer in answers] == [[0], [1], [2]]
    assert answers[0][1:] == (0.25, 0.5, 4)
    assert client.pending == 0


@pytest.mark.parametrize(
    ("kind", "raised"),
    [
        ("QueueFull", errors.QueueFull),
        ("DeadlineUnmeetable", errors.DeadlineUnmeetable),
        ("Unavailable", errors.Unavailable),
        ("DeadlineExceeded", errors.DeadlineExceeded),
        ("EngineError", errors.EngineError),
        ("OutOfMemory", errors.EngineError),
        ("SomethingNew", errors.EngineError),
    ],
)
async def test_a_failure_is_raised_as_what_the_engine_called_it(
    engine: Engine, client: EngineClient, kind: str, raised: type[Exception]
):
    asking = asyncio.create_task(client.infer(X, OUT, within()))
    request = await engine.hears()
    engine.say(wire.Failure(request.id, kind, "because", 2.5))
    with pytest.raises(raised, match="because") as caught:
        await asking
    assert type(caught.value) is raised
    assert getattr(caught.value, "retry_after", 2.5) == 2.5


async def test_an_engine_that_has_stopped_costs_no_more_than_the_deadline(
    engine: Engine, client: EngineClient
):
    begun = time.monotonic()
    late = asyncio.create_task(client.infer(X, OUT, begun + 0.1))
    patient = asyncio.create_task(client.infer(X, OUT, within()))
    first, second = await engine.hears(), await engine.hears()
    with pytest.raises(errors.DeadlineExceeded, match="no answer before the deadline"):
        await late
    assert time.monotonic() - begun >= 0.1
    assert await engine.hears() == wire.Cancel(first.id)
    assert client.pending == 1
    engine.answer(first.id, np.zeros(1))  # too late: nobody is confused by it
    engine.answer(second.id, np.ones(1))
    assert (await patient).outputs["y"].tolist() == [1]


async def test_the_engine_is_given_its_time_to_say_so_itself(
    engine: Engine, client: EngineClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(clients, "GRACE", PATIENCE)
    asking = asyncio.create_task(client.infer(X, OUT, time.monotonic() + 0.05))
    request = await engine.hears()
    await asyncio.sleep(max(0.0, request.deadline - time.monotonic()))
    engine.say(wire.Failure(request.id, "DeadlineExceeded", "queued too long"))
    with pytest.raises(errors.DeadlineExceeded, match="queued too long"):
        await asking


async def test_a_cancelled_request_is_taken_back_and_forgotten_without_an_answer(
    engine: Engine, client: EngineClient
):
    asking = asyncio.create_task(client.infer(X, OUT, within()))
    request = await engine.hears()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert await engine.hears() == wire.Cancel(request.id)
    assert client.pending == 0
    await until(lambda: not client._waiting)  # also if no answer ever comes
    engine.answer(request.id, np.zeros(1))
    again = asyncio.create_task(client.infer(X, OUT, within()))
    engine.answer((await engine.hears()).id, np.ones(1))
    assert (await again).outputs["y"].tolist() == [1]


async def test_the_sweep_rests_when_nobody_waits_and_starts_again(
    engine: Engine, client: EngineClient
):
    for _ in range(2):
        with pytest.raises(errors.DeadlineExceeded):
            await client.infer(X, OUT, time.monotonic() + 0.01)
        await until(lambda: not client._sweeping)


async def test_what_is_late_already_is_not_sent(engine: Engine, client: EngineClient):
    with pytest.raises(errors.DeadlineExceeded, match="before the request could be sent"):
        await client.infer(X, OUT, time.monotonic())
    client.hold(1)
    assert await engine.hears() == wire.Hold(1)


async def test_an_engine_that_reads_nothing_does_not_fill_the_front_ends_memory(
    engine: Engine, client: EngineClient, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(clients, "MAX_BACKLOG", 1_000_000)
    transport = engine.channels[0]._transport
    assert transport is not None
    transport.pause_reading()
    large = {"x": np.ones((1, 500_000), np.float32)}
    tasks = [asyncio.create_task(client.infer(large, OUT, within())) for _ in range(2)]
    await asyncio.sleep(0.01)
    with pytest.raises(errors.QueueFull, match="does not take what it was sent"):
        await client.infer(X, OUT, within())
    transport.resume_reading()
    for task in tasks:
        engine.answer((await engine.hears()).id, np.ones(1))
        await task
    again = asyncio.create_task(client.infer(X, OUT, within()))
    engine.answer((await engine.hears()).id, np.ones(1))
    await again


async def test_who_waits_on_an_engine_that_ends_is_told(engine: Engine, client: EngineClient):
    asking = asyncio.create_task(client.infer(X, OUT, within()))
    await engine.hears()
    engine.channels[0].close()
    with pytest.raises(errors.EngineLost, match="ended before it answered"):
        await asking
    assert client.lost.is_set()
    with pytest.raises(errors.EngineLost, match="the engine is gone"):
        await client.infer(X, OUT, within())
    client.hold(1)  # harmless


@pytest.mark.parametrize("frame", [b"\xff" * 8, b"\x01\0\0\0\0\0\0\0\xc1", b"\x02\0\0\0\0\0\0\0[]"])
async def test_an_engine_that_speaks_nonsense_is_lost(
    engine: Engine, client: EngineClient, frame: bytes
):
    loop, met = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda _, context: met.append(context))
    transport = engine.channels[0]._transport
    assert transport is not None
    transport.write(frame)
    async with asyncio.timeout(PATIENCE):
        await client.lost.wait()


@pytest.mark.parametrize("message", [wire.Cancel(1), wire.Hold(1)])
async def test_an_engine_that_asks_instead_of_answering_is_lost(
    engine: Engine, client: EngineClient, message: Any
):
    engine.say(message)
    async with asyncio.timeout(PATIENCE):
        await client.lost.wait()


async def test_a_hello_that_never_comes_is_not_waited_for(engine: Engine):
    engine.hello = None
    with pytest.raises(errors.EngineLost, match=r"said nothing for 0\.05 s"):
        await EngineClient.connect(engine.path, 0.05)


async def test_another_protocol_is_no_engine(engine: Engine):
    engine.hello = wire.Hello(wire.PROTOCOL + 1, {})
    with pytest.raises(errors.EngineLost):
        await EngineClient.connect(engine.path)


async def test_nobody_listens(tmp_path: Path):
    with pytest.raises(OSError, match="No such file"):
        await EngineClient.connect(tmp_path / "nobody")


async def test_numbers_are_never_used_twice(engine: Engine, client: EngineClient):
    asking = [asyncio.create_task(client.infer(X, OUT, within())) for _ in range(5)]
    asking.append(asyncio.create_task(client.stats()))  # type: ignore[arg-type]
    numbers = [(await engine.hears()).id for _ in asking]
    assert all(one < other for one, other in itertools.pairwise(sorted(set(numbers))))
    assert len(set(numbers)) == 6
    for number in numbers[:-1]:
        engine.answer(number, np.ones(1))
    engine.say(wire.Stats(numbers[-1], []))
    await asyncio.gather(*asking)
