"""A front end's connections follow the table, and a table takes no answer away from anybody."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import oddities
import pytest

from service import routing
from service.engine import bare, wire
from service.engine.client import Answer
from service.engine.config import Options
from service.errors import DeadlineExceeded, Unavailable
from service.routing import Router, Share, Split, Table, Target

SOON = 20.0
OUT = ["probabilities"]


class Engine:
    """The engine's end of the socket, which answers when it is told to."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[int] = asyncio.Queue()
        self.left = asyncio.Event()
        self._channel: wire.Channel[wire.EngineMessage] | None = None

    async def listen(self, path: Path) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(self._accept, str(path))

    async def end(self) -> None:
        """Answer nothing any more."""
        self._server.close()
        if self._channel is not None:
            self._channel.close()
            await asyncio.wait_for(self.left.wait(), SOON)

    def answer(self, number: int) -> None:
        """Give request `number` its answer."""
        heads, body = wire.pack({"probabilities": np.ones((1, 2), np.float32)})
        self._send(wire.Result(number, heads, 0.0, 0.0, 1), body)

    def _send(self, message: Any, body: Any = ()) -> None:
        assert self._channel is not None
        self._channel.send(message, body)

    def _accept(self) -> Any:
        self._channel = wire.Channel(
            wire.EngineMessage,
            self._heard,
            lambda channel: self.left.set(),
            lambda channel: channel.send(wire.Hello(wire.PROTOCOL, {})),
        )
        return self._channel

    def _heard(self, channel: Any, message: Any, body: Any) -> None:
        if isinstance(message, wire.Infer):
            self.asked.put_nowait(message.id)


class Swap:
    """A router, two engines of one model's versions, and the tables that name one or the other."""

    def __init__(self, directory: Path, runtime: Path) -> None:
        self.router, self.old, self.new = Router(), Engine(), Engine()
        self.sockets = {1: runtime / "old", 2: runtime / "new"}
        self._directory = str(directory)

    async def to(self, number: int, *versions: int) -> None:
        """Route by table `number`, which names `versions`."""
        targets = tuple(
            Target("toy-text", version, self._directory, "ready", str(self.sockets[version]))
            for version in versions
        )
        champions = {"toy-text": versions[-1]} if versions else {}
        table = Table(number, True, False, champions, targets)
        assert await self.router.apply(msgspec.to_builtins(table)) == number

    def ask(self, seconds: float = SOON) -> asyncio.Task[Answer]:
        """A request to the version that answers now."""
        tokens = np.array([[2, 3]], dtype=np.int64)
        tensors: wire.Tensors = {"input_ids": tokens, "attention_mask": np.ones_like(tokens)}
        target = self.router.target("toy-text")
        return asyncio.create_task(
            self.router.infer(target, tensors, OUT, time.monotonic() + seconds)
        )


@pytest.fixture
async def swap(repository: Path, tmp_path: Path) -> AsyncIterator[Swap]:
    """Version 1 answers, version 2 stands by."""
    swap = Swap(repository / "toy-text" / "1", tmp_path)
    await swap.old.listen(swap.sockets[1])
    await swap.new.listen(swap.sockets[2])
    await swap.to(1, 1)
    yield swap
    swap.router.close()
    await asyncio.gather(swap.old.end(), swap.new.end())


async def soon(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, SOON)


async def test_what_an_engine_was_asked_it_answers_after_the_table_has_dropped_it(swap: Swap):
    first, second = swap.ask(), swap.ask()
    asked = [await soon(swap.old.asked.get()) for _ in range(2)]
    await swap.to(2, 2)
    swap.old.answer(asked[0])
    assert (await soon(first)).batch_rows == 1
    swap.old.answer(asked[1])
    assert (await soon(second)).batch_rows == 1


async def test_the_connection_is_closed_with_the_last_answer(swap: Swap):
    first, second = swap.ask(), swap.ask()
    asked = [await soon(swap.old.asked.get()) for _ in range(2)]
    await swap.to(2, 2)
    swap.old.answer(asked[0])
    await soon(first)
    third = swap.ask()  # a round trip at the new engine: the old one would have heard by now
    swap.new.answer(await soon(swap.new.asked.get()))
    await soon(third)
    assert not swap.old.left.is_set()
    swap.old.answer(asked[1])
    await soon(second)
    await soon(swap.old.left.wait())


async def test_a_connection_without_requests_is_closed_at_once(swap: Swap):
    await swap.to(2, 2)
    await soon(swap.old.left.wait())


async def test_new_requests_go_by_the_new_table_while_old_ones_wait(swap: Swap):
    old = swap.ask()
    number = await soon(swap.old.asked.get())
    await swap.to(2, 2)
    new = swap.ask()
    swap.new.answer(await soon(swap.new.asked.get()))
    await soon(new)
    assert swap.old.asked.empty()
    swap.old.answer(number)
    await soon(old)


async def test_a_caller_that_has_gone_keeps_no_connection_open(swap: Swap):
    asked = swap.ask()
    await soon(swap.old.asked.get())
    asked.cancel()
    await asyncio.wait([asked])
    await swap.to(2, 2)
    await soon(swap.old.left.wait())


async def test_a_caller_that_goes_after_the_swap_closes_the_connection(swap: Swap):
    asked = swap.ask()
    await soon(swap.old.asked.get())
    await swap.to(2, 2)
    asked.cancel()
    await soon(swap.old.left.wait())


async def test_an_engine_that_never_answers_keeps_its_connection_until_the_deadline(swap: Swap):
    asked = swap.ask(seconds=0.2)
    await soon(swap.old.asked.get())
    await swap.to(2, 2)
    with pytest.raises(DeadlineExceeded):
        await soon(asked)
    await soon(swap.old.left.wait())


async def test_a_closing_front_end_waits_for_nobody(swap: Swap):
    asked = swap.ask()
    await soon(swap.old.asked.get())
    await swap.to(2)
    swap.router.close()
    with pytest.raises(Unavailable):
        await soon(asked)
    await soon(swap.old.left.wait())


async def test_an_older_table_is_not_taken(swap: Swap):
    await swap.to(2, 2)
    older = Table(1, True, False, {"toy-text": 1})
    assert await swap.router.apply(msgspec.to_builtins(older)) == 2
    assert swap.router.target("toy-text").version == 2


async def test_a_version_without_a_manifest_is_opened_by_what_its_engine_reports(tmp_path: Path):
    router = Router()
    directory = oddities.save(tmp_path, oddities.linear())
    session = bare.load(directory, Options(provider="cpu"))
    starting = Target("odd", 1, str(directory), "starting")
    ready = msgspec.structs.replace(starting, state="ready", report=session.report)

    async def route(number: int, target: Target) -> None:
        await router.apply(msgspec.to_builtins(Table(number, True, False, {"odd": 1}, (target,))))

    await route(1, starting)
    with pytest.raises(Unavailable, match="odd/1 is loading"):
        router.opened(router.target("odd"))
    await route(2, ready)
    first = router.opened(router.target("odd"))
    assert first.manifest.batched
    await route(3, ready)
    assert router.opened(router.target("odd")) is first
    other = msgspec.to_builtins(msgspec.structs.replace(first.manifest, batched=False))
    report = session.report | {"manifest": other}
    await route(4, msgspec.structs.replace(ready, report=report))
    assert not router.opened(router.target("odd")).manifest.batched
    router.close()


def test_a_larger_share_keeps_the_clients_of_a_smaller_one_and_models_differ():
    clients = [f"client {number}" for number in range(2000)]
    places = {client: routing.place("m", client) for client in clients}
    assert all(0 <= place < 100 for place in places.values())
    for percent in (10, 30, 50):
        share = sum(place < percent for place in places.values()) / len(clients)
        assert abs(100 * share - percent) < 4
    assert places["client 1"] != routing.place("n", "client 1")


@pytest.mark.parametrize("reachable", [True, False])
async def test_a_canary_gets_its_clients_while_it_can_be_reached(swap: Swap, reachable: bool):
    if not reachable:
        await swap.new.end()
    split = {"toy-text": Split(Share(2, 100.0))}
    targets = tuple(
        Target("toy-text", version, swap._directory, "ready", str(swap.sockets[version]))
        for version in (1, 2)
    )
    table = Table(2, True, False, {"toy-text": 1}, targets, split)
    await swap.router.apply(msgspec.to_builtins(table))
    champion = swap.router.target("toy-text")
    assert champion.version == 1
    assert swap.router.divert(champion, lambda: "somebody").version == (2 if reachable else 1)
