"""A client that goes takes its work with it, and what it says about time is a number."""

import asyncio
from typing import Any

import pytest

from models.errors import InputError
from service.api import connection
from service.api.connection import read_timeout, unless_gone
from service.errors import ClientGone


@pytest.mark.parametrize(
    ("header", "seconds"),
    [(None, None), ("1", 0.001), ("0.5", 0.0005), ("2e3", 2.0), ("86399999", 86399.999)],
)
def test_a_number_of_milliseconds_is_a_time(header: str | None, seconds: float | None):
    assert read_timeout(header) == seconds


@pytest.mark.parametrize(
    "header", ["", "0", "-1", "nan", "inf", "-inf", "1_000", "0x10", "1,5", "soon", "86400000"]
)
def test_anything_else_is_refused_by_what_it_says(header: str):
    with pytest.raises(InputError, match=f"Request-Timeout-Ms is '{header}', a number"):
        read_timeout(header)


class Client:
    """A client as the application sees it: `receive` waits until it has gone."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.watched = 0

    async def receive(self) -> dict[str, Any]:
        self.watched += 1
        await self.gone.wait()
        return {"type": "http.disconnect"}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "WATCH_AFTER", 0.0)


async def test_work_that_ends_is_answered_and_the_watch_ends_with_it():
    client = Client()

    async def work() -> int:
        while not client.watched:
            await asyncio.sleep(0)
        return 7

    assert await unless_gone(client.receive, work()) == 7
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks()) == 1


async def test_work_that_ends_at_once_is_not_watched():
    client = Client()

    async def work() -> int:
        return 7

    assert await unless_gone(client.receive, work()) == 7
    await asyncio.sleep(0.01)
    assert client.watched == 0


async def test_a_client_that_goes_cancels_the_work_and_nothing_else():
    client, cancelled = Client(), []

    async def work() -> None:
        client.gone.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    with pytest.raises(ClientGone):
        await unless_gone(client.receive, work())
    assert cancelled == [True]
    await asyncio.sleep(0)  # the caller itself goes on
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_an_error_of_the_work_is_the_callers():
    async def work() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        await unless_gone(Client().receive, work())


async def test_a_cancellation_from_elsewhere_stays_one():
    waiting = asyncio.create_task(unless_gone(Client().receive, asyncio.Event().wait()))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
