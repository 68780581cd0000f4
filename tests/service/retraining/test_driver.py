"""Driving jobs over a real ledger, with steps that fail in every way: none is stuck for ever, none is ended for what passes."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
from prometheus_client import CollectorRegistry

from models.errors import Conflict, DataError, RegistryUnavailable
from service.errors import NotFound, Refused, Unavailable
from service.ledger.ledger import Ledger
from service.ledger.writer import Writer
from service.retraining import driver
from service.retraining.driver import Driver
from service.retraining.jobs import Job
from service.retraining.journal import Journal
from service.retraining.metrics import RetrainingMetrics
from service.retraining.place import Place
from service.retraining.triggers import Trigger
from service.settings import Settings

MODEL = "m"


class Steps:
    """Stands in for both kinds of steps: `does` says what each state's step comes to."""

    def __init__(self, directory: Path, journal: Journal) -> None:
        self.root, self.journal = directory, journal
        self.does: dict[str, Callable[[Job], Awaitable[Job | None]]] = {}
        self.stopped: list[str] = []
        self.withdrawn: list[str] = []
        self.answers = False

    def directory(self, job: Job) -> Path:
        return self.root / job.id

    async def _step(self, job: Job) -> Job | None:
        if job.state in self.does:
            return await self.does[job.state](job)
        after = {
            "queued": "submitted",
            "submitted": "running",
            "running": "evaluating",
            "evaluating": "promoting",
            "promoting": "watching",
            "watching": "succeeded",
        }[job.state]
        return await self.journal.move(job, after)  # type: ignore[arg-type]

    prepare = submit = follow = promote = watch = _step

    async def judge(self, job: Job, directory: Path) -> Job | None:
        return await self._step(job)

    async def stop(self, job: Job) -> None:
        self.stopped.append(job.state)

    async def withdraw(self, job: Job) -> None:
        self.withdrawn.append(job.state)

    async def promoted(self, job: Job) -> bool:
        return self.answers or job.state == "watching"


class World(NamedTuple):
    """A driver with its steps, a clock that is moved, and what is served."""

    driver: Driver
    steps: Steps
    journal: Journal
    clock: SimpleNamespace
    served: dict[str, Any]

    async def begin(self) -> Job:
        return await self.journal.begin(MODEL, Trigger(kind="person"), "queued", reason="why")

    async def look(self) -> None:
        await self.driver.look()
        await self.driver.settled()

    async def state(self, job: Job) -> str:
        found = await self.journal.get(job.id)
        assert found is not None
        return found.state


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(driver, "AGAIN_SECONDS", 0.0)
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    writer = Writer(ledger)
    clock = SimpleNamespace(now=time.time())
    served: dict[str, Any] = {MODEL: SimpleNamespace(champion=1)}
    lifecycle: Any = SimpleNamespace(of=served.get)

    async def figures() -> Any:
        return []

    place = Place(Settings(state=tmp_path), ledger, writer, lifecycle, figures, lambda: clock.now)
    journal = Journal(place, RetrainingMetrics(CollectorRegistry()))
    steps: Any = Steps(tmp_path, journal)
    yield World(Driver(place, journal, steps, steps), steps, journal, clock, served)
    await writer.close()
    ledger.close()


def failing(error: Exception, times: int = 10**9) -> Callable[[Job], Awaitable[Job | None]]:
    """A step that raises, so often; then there is nothing to do."""
    left = [times]

    async def step(_: Job) -> Job | None:
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return None

    return step


async def nothing(_: Job) -> Job | None:
    return None


async def test_a_job_goes_as_far_as_it_can_in_one_look(world: World):
    job = await world.begin()
    await world.look()
    assert await world.state(job) == "succeeded"
    events = await world.journal.events(job.id, 0, 0)
    assert [one.number for one in events] == [1, 2, 3, 4, 5, 6, 7]


PASSING = (
    Unavailable("the ledger is away"),
    RegistryUnavailable("no such bucket"),
    OSError(28, "No space left on device"),
    Conflict("somebody was first"),
)


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("state", ["queued", "submitted", "running", "evaluating", "promoting"])
async def test_what_passes_ends_no_job(world: World, error: Exception, state: str):
    job = await world.begin()
    world.steps.does[state] = failing(error)
    for _ in range(3):
        await world.look()
        assert await world.state(job) == state
    del world.steps.does[state]
    await world.look()
    assert await world.state(job) == "succeeded"


@pytest.mark.parametrize("state", ["queued", "submitted", "running", "evaluating", "promoting"])
async def test_what_does_not_pass_in_time_ends_the_job_with_the_reason(world: World, state: str):
    job = await world.begin()
    world.steps.does[state] = failing(Unavailable("the bucket has gone"))
    await world.look()
    world.clock.now += 8 * 86_400
    await world.look()
    found = await world.journal.get(job.id)
    assert found is not None
    assert found.state == "expired"
    assert "the bucket has gone" in found.reason
    assert world.steps.withdrawn == [state]
    assert world.steps.stopped == ([state] if state in ("submitted", "running") else [])


@pytest.mark.parametrize(
    "error", [DataError("no rows"), Refused("no"), NotFound("gone"), ValueError("a defect")]
)
async def test_what_will_not_pass_fails_the_job_in_its_own_words(
    world: World, error: Exception, caplog: pytest.LogCaptureFixture
):
    job = await world.begin()
    world.steps.does["running"] = failing(error)
    await world.look()
    found = await world.journal.get(job.id)
    assert found is not None
    assert (found.state, str(error) in found.reason) == ("failed", True)
    assert world.steps.stopped == ["running"]


@pytest.mark.parametrize("state", ["queued", "submitted", "running", "evaluating", "promoting"])
async def test_what_is_cancelled_is_stopped_and_withdrawn_first(world: World, state: str):
    world.steps.does[state] = nothing
    job = await world.begin()
    await world.look()
    before = await world.journal.get(job.id)
    assert before is not None
    await world.journal.note(before, "note", cancel="ann")
    await world.look()
    assert await world.state(job) == "cancelled"
    assert world.steps.withdrawn == [state]


async def test_a_cancel_that_comes_after_the_promotion_is_too_late(world: World):
    world.steps.does["promoting"] = nothing
    job = await world.begin()
    await world.look()
    before = await world.journal.get(job.id)
    assert before is not None
    await world.journal.note(before, "note", cancel="ann")
    world.steps.answers = True
    del world.steps.does["promoting"]
    await world.look()
    assert await world.state(job) == "succeeded"


async def test_a_job_of_a_model_that_is_not_served_here_is_left_alone_until_it_is_late(
    world: World,
):
    job = await world.begin()
    world.served.clear()
    await world.look()
    assert await world.state(job) == "queued"
    world.clock.now += 86_400
    await world.look()
    assert await world.state(job) == "expired"


async def test_ending_a_run_that_cannot_be_ended_now_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
):
    job = await world.begin()
    world.steps.does["running"] = failing(DataError("no rows"))
    with monkeypatch.context() as patched:
        patched.setattr(world.steps, "stop", failing(Unavailable("away"), 2))
        await world.look()
        assert await world.state(job) == "running"
    await world.look()
    assert await world.state(job) == "failed"


async def test_a_step_that_takes_long_holds_up_nobody_else(world: World):
    slow, other = await world.begin(), "other"
    world.served[other] = SimpleNamespace(champion=1)
    quick = await world.journal.begin(other, Trigger(kind="person"), "queued")
    begun, go = asyncio.Event(), asyncio.Event()

    async def wait(job: Job) -> Job | None:
        if job.id == slow.id:
            begun.set()
            await go.wait()
        return await world.journal.move(job, "submitted")

    world.steps.does["queued"] = wait
    await world.driver.look()
    await begun.wait()
    async with asyncio.timeout(30):
        while await world.state(quick) != "succeeded":
            await world.driver.look()
            await asyncio.sleep(0)
    assert await world.state(slow) == "queued"
    go.set()
    await world.driver.settled()
    assert await world.state(slow) == "succeeded"
