"""One run for all who asked before it began, and never one that began before."""

import asyncio

import pytest

from service.sharing import Shared


class Work:
    """Runs that end when they are told to; each returns its number."""

    def __init__(self) -> None:
        self.begun = 0
        self.go = asyncio.Semaphore(0)

    async def __call__(self) -> int:
        self.begun += 1
        number = self.begun
        await self.go.acquire()
        if number == 3:
            raise LookupError("the third")
        return number


async def asking(shared: Shared[int], count: int) -> list[asyncio.Task[int]]:
    """So many who ask, and have been heard."""
    tasks = [asyncio.create_task(shared()) for _ in range(count)]
    for _ in range(3):
        await asyncio.sleep(0)
    return tasks


async def test_who_asks_while_it_runs_shares_the_next_run():
    work = Work()
    shared = Shared(work)
    first = await asking(shared, 1)
    later = await asking(shared, 5)
    assert work.begun == 1
    work.go.release()
    work.go.release()
    assert await asyncio.gather(*first, *later) == [1, 2, 2, 2, 2, 2]
    assert work.begun == 2


async def test_who_gives_up_takes_the_result_from_nobody():
    work = Work()
    shared = Shared(work)
    hasty, patient = await asking(shared, 2)
    hasty.cancel()
    work.go.release()
    assert await patient == 1
    with pytest.raises(asyncio.CancelledError):
        await hasty


async def test_what_a_run_raises_is_raised_for_its_own_and_the_next_begins_anew():
    work = Work()
    shared = Shared(work)
    for _ in range(4):
        work.go.release()
    assert [await shared(), await shared()] == [1, 2]
    failed = await asking(shared, 2)
    told = await asyncio.gather(*failed, return_exceptions=True)
    assert [str(one) for one in told] == ["the third", "the third"]
    assert await shared() == 4
