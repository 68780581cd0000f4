"""Jobs expire with the ledger's age: never those that who answers comes from, nor those that the policy still counts."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import toys

from models import bundle
from models.registry import Registry
from service.ledger.ledger import Ledger
from service.ledger.records import DAY, Limits
from service.ledger.writer import Writer
from service.retraining import jobs
from service.retraining.forgetting import Forgetting, lineage
from service.retraining.jobs import Job
from service.retraining.place import Place
from service.retraining.triggers import Trigger
from service.settings import Settings

MODEL = "toy-text"
AGE = 90 * DAY
LONG_AGO = time.time() - 2 * AGE
REJECTED = ("submitted", "running", "evaluating", "rejected")
SUCCEEDED = ("submitted", "running", "evaluating", "promoting", "watching", "succeeded")


def descends(root: Path, version: int, parent: int | None) -> None:
    """A version that says which one it comes from."""
    directory = toys.text(root, version=version)
    record = bundle.Training("00", {}, 1, 0.1, "cpu", "2026-01-01T00:00:00Z", None, parent=parent)
    bundle.write(directory, msgspec.structs.replace(bundle.read(directory), training=record))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """4 answers and comes from 2, which comes from 1; 3 and 5 came of nothing."""
    for version, parent in ((1, None), (2, 1), (3, 2), (4, 2)):
        descends(tmp_path / "models", version, parent)
    made = Registry([tmp_path / "models"], tmp_path / "registry")
    made.promote(MODEL, 4, who="a test")
    descends(tmp_path / "models", 5, 4)
    return made


@pytest.fixture
async def place(tmp_path: Path, registry: Registry) -> AsyncIterator[Place]:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}", Limits(age_s=AGE))
    writer = Writer(ledger)
    lifecycle: Any = SimpleNamespace(registry=registry)

    async def figures() -> Any:
        return []

    yield Place(Settings(state=tmp_path), ledger, writer, lifecycle, figures)
    await writer.close()
    ledger.close()


def job(
    place: Place, number: int, *states: Any, version: int | None = None, at: float = LONG_AGO
) -> Job:
    """A job that went through these states, with a directory."""
    made = jobs.new_id(at + number, number)
    first = "queued" if states else "suppressed"
    found = jobs.began(made, MODEL, Trigger(kind="person"), first, at + number, version=version)
    one = place.ledger.jobs.add(found)
    for state in states:
        one = place.ledger.jobs.save(one, jobs.moved(one, state, one.changed_at + 1, "why"))
    (place.settings.state / "jobs" / one.id).mkdir(parents=True)
    return one


def left(place: Place) -> set[str]:
    """Jobs that are there, in the ledger and on the disk alike."""
    known = {one.id for one in place.ledger.jobs.newest(limit=1000)}
    assert known == {path.name for path in (place.settings.state / "jobs").iterdir()}
    return known


def test_a_lineage_is_who_has_a_name_and_whom_it_comes_from(registry: Registry) -> None:
    assert lineage(registry, MODEL) == {4, 2, 1}
    registry.set_alias(MODEL, "challenger", 5, who="a test")
    assert lineage(registry, MODEL) == {5, 4, 2, 1}


async def test_old_jobs_go_with_their_events_and_directories(place: Place) -> None:
    suppressed, failed = job(place, 1), job(place, 2, "failed")
    await Forgetting(place).look(MODEL)
    assert left(place) == {failed.id}, "the last one that began is the one that the cooldown counts"
    assert place.ledger.jobs.events(suppressed.id) == []
    young = job(place, 3, "failed", at=time.time() - AGE + DAY)
    assert await Forgetting(place).look(MODEL) == 1
    assert left(place) == {young.id}


async def test_the_lineage_of_who_answers_stays(place: Place) -> None:
    parent = job(place, 1, *SUCCEEDED, version=2)
    other = job(place, 2, *REJECTED, version=3)
    champion = job(place, 3, *SUCCEEDED, version=4)
    failed, last = job(place, 4, "failed"), job(place, 5, "cancelled")
    assert await Forgetting(place).look(MODEL) == 2
    assert left(place) == {parent.id, champion.id, last.id}
    assert {other.id, failed.id}.isdisjoint(left(place))
    assert len(place.ledger.jobs.events(champion.id)) == 1 + len(SUCCEEDED)


async def test_what_the_circuit_breaker_counts_stays_until_a_challenger_wins(place: Place) -> None:
    champion = job(place, 1, *SUCCEEDED, version=4)
    rejected = [job(place, number, *REJECTED, version=5) for number in (2, 3)]
    assert await Forgetting(place).look(MODEL) == 0
    won = job(place, 4, *SUCCEEDED, version=9)
    assert await Forgetting(place).look(MODEL) == 2
    assert left(place) == {champion.id, won.id}
    assert {one.id for one in rejected}.isdisjoint(left(place))


async def test_what_is_active_and_what_is_another_models_stays(place: Place) -> None:
    found = jobs.began(
        jobs.new_id(LONG_AGO, 1), "other", Trigger(kind="person"), "suppressed", LONG_AGO
    )
    other = place.ledger.jobs.add(found).id
    active = job(place, 2, "submitted")
    assert place.ledger.jobs.forget([active.id]) == 0
    assert await Forgetting(place).look(MODEL) == 0
    assert {one.id for one in place.ledger.jobs.newest()} == {other, active.id}


async def test_many_go_part_by_part(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.retraining.forgetting.PART", 3)
    for number in range(10):
        job(place, number)
    assert await Forgetting(place).look(MODEL) == 10
    assert left(place) == set()
