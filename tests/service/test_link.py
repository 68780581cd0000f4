"""Either end asks, and what the other end raises arrives as what it was."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from models.errors import BundleError, Conflict, InputError, RegistryUnavailable, TooLarge
from service import context
from service.context import RequestContext
from service.errors import NotFound, QueueFull, Refused, Unavailable
from service.link import Link, Told, raised

SOON = 20.0


class Ends:
    """A link's two ends; the far one answers "fail" with `error`."""

    def __init__(self) -> None:
        self.error: Exception = Refused("no")

    async def open(self, path: Path) -> None:
        async def fail(_: Any) -> Any:
            raise self.error

        async def echo(body: Any) -> Any:
            return body

        self.far = Link({"fail": fail, "echo": echo}, "the near end")
        loop = asyncio.get_running_loop()
        self._server = await loop.create_unix_server(lambda: self.far.channel, str(path))
        self.near = await Link.connect(str(path), {"echo": echo})
        await asyncio.wait_for(self.far.opened.wait(), SOON)

    async def close(self) -> None:
        self.near.close()
        self._server.close()
        await asyncio.wait_for(self.far.lost.wait(), SOON)


@pytest.fixture
async def ends(tmp_path: Path) -> AsyncIterator[Ends]:
    ends = Ends()
    await ends.open(tmp_path / "link")
    yield ends
    await ends.close()


async def test_both_ends_ask_and_answer(ends: Ends):
    assert await ends.near.ask("echo", {"a": 1}) == {"a": 1}
    assert await ends.far.ask("echo", [2]) == [2]


@pytest.mark.parametrize(
    "error",
    [
        Refused("it is wrong"),
        Conflict("somebody was first"),
        NotFound("nobody"),
        BundleError("damaged"),
        InputError("odd"),
        TooLarge("huge"),
        RegistryUnavailable("away"),
    ],
)
async def test_an_error_arrives_as_what_it_was(ends: Ends, error: Exception):
    ends.error = error
    with pytest.raises(type(error), match=f"^{error}$"):
        await ends.near.ask("fail")


async def test_the_time_to_wait_travels_with_the_error(ends: Ends):
    ends.error = QueueFull("full", 7.5)
    with pytest.raises(QueueFull) as caught:
        await ends.near.ask("fail")
    assert caught.value.retry_after == 7.5


async def test_a_defect_is_told_without_its_details(ends: Ends):
    ends.error = ValueError("a secret")
    with pytest.raises(Unavailable, match=r"^'fail' failed; the log says why$"):
        await ends.near.ask("fail")


async def test_an_end_that_has_gone_cannot_be_asked(ends: Ends):
    ends.far.close()
    await asyncio.wait_for(ends.near.lost.wait(), SOON)
    with pytest.raises(Unavailable, match="control cannot be reached"):
        await ends.near.ask("echo")


def test_a_kind_that_is_not_known_is_unavailable():
    error = raised(Told(1, None, "new", "FromTheFuture", 3.0))
    assert (type(error), str(error)) == (Unavailable, "new")


async def test_a_question_carries_the_ids_of_the_request_that_it_is_asked_for(tmp_path: Path):
    ends, seen = Ends(), []
    await ends.open(tmp_path / "link")

    async def ids(_: Any) -> None:
        asked = context.current.get()
        seen.append(None if asked is None else asked.ids())

    ends.far._handlers = {"ids": ids}
    await ends.near.ask("ids")
    context.current.set(RequestContext("mine", "a" * 32))
    await ends.near.ask("ids")
    assert seen == [None, {"request_id": "mine", "trace_id": "a" * 32}]
    await ends.close()
