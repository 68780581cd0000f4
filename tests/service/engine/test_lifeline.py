"""What a child says on its lifeline, and when it hears that nobody listens any more."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator

import msgspec
import pytest
import uvloop

from service.engine import lifeline
from service.engine.lifeline import Lifeline, Said


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Lifeline, socket.socket]]:
    monkeypatch.setattr(lifeline, "BEAT_SECONDS", 0.01)
    ours, theirs = socket.socketpair()
    child = Lifeline(theirs.detach())
    yield child, ours
    ours.close()
    child._socket.close()


@pytest.fixture
async def attending(
    ends: tuple[Lifeline, socket.socket],
) -> AsyncIterator[tuple[asyncio.Event, Lifeline, socket.socket]]:
    child, ours = ends
    gone = asyncio.Event()
    child.attend(gone.set)
    yield gone, child, ours
    asyncio.get_running_loop().remove_reader(child._socket)


def lines(ours: socket.socket) -> list[Said]:
    return [msgspec.json.decode(line, type=Said) for line in ours.recv(65_536).splitlines()]


def test_states_reports_and_reasons_are_lines(ends: tuple[Lifeline, socket.socket]):
    child, ours = ends
    child.say(Said("ready", report={"a": "two\nlines"}))
    child.say(Said(reason="near the end"))
    assert lines(ours) == [
        Said("ready", report={"a": "two\nlines"}),
        Said(reason="near the end"),
    ]


async def test_who_attends_says_again_and_again_that_its_loop_turns(
    attending: tuple[asyncio.Event, Lifeline, socket.socket],
):
    gone, _, ours = attending
    heard: list[Said] = []
    async with asyncio.timeout(10):
        while len(heard) < 5:
            heard += lines(ours)
            await asyncio.sleep(0.02)
    assert set(map(repr, heard)) == {repr(Said())}
    assert not gone.is_set()


async def test_the_end_of_the_supervisor_is_heard_once(
    attending: tuple[asyncio.Event, Lifeline, socket.socket],
):
    gone, child, ours = attending
    ours.close()
    async with asyncio.timeout(10):
        await gone.wait()
    gone.clear()
    child.say(Said(reason="to nobody"))
    await asyncio.sleep(0.05)  # some beats
    assert not gone.is_set()


def test_the_end_of_a_supervisor_that_had_not_read_everything_is_heard_on_the_loop_that_serves(
    ends: tuple[Lifeline, socket.socket],
):
    child, ours = ends

    async def attended() -> None:
        gone = asyncio.Event()
        child.attend(gone.set)
        child.say(Said(reason="unread"))
        ours.close()
        async with asyncio.timeout(10):
            await gone.wait()

    uvloop.run(attended())


async def test_a_supervisor_that_reads_nothing_holds_nobody_up(
    attending: tuple[asyncio.Event, Lifeline, socket.socket],
):
    gone, child, _ = attending
    async with asyncio.timeout(10):
        for _ in range(20_000):
            child.say(Said(reason="x" * 100))
    await asyncio.sleep(0.02)
    assert not gone.is_set()
