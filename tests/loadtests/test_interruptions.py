"""What the program calls a violation is one: each rule, broken once, is told."""

import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import toys

from loadtests.interruptions import found, invariants
from loadtests.interruptions.asking import Told
from loadtests.interruptions.course import BLOCK, Course
from loadtests.interruptions.disk import disk
from loadtests.interruptions.faults import AIMS, FAULTS
from loadtests.interruptions.found import Ended, Found, Interruption
from models.registry import Registry
from models.registry.aliases import append, made
from models.registry.stores import LocalStore
from service.ledger.ledger import Ledger
from service.ledger.records import Label, Prediction
from service.retraining import jobs
from service.retraining.jobs import Job
from service.retraining.triggers import Trigger

MODEL = "toy-text"
AT = time.time()


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invariants, "MODEL", MODEL)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """Version 1, and version 2 that a job promoted."""
    toys.text(tmp_path / "models")
    opened = Registry([tmp_path / "models"], tmp_path / "registry")
    opened.publish(toys.text(tmp_path / "made"), who="a test")
    opened.promote(MODEL, 2, who="retraining j")
    return opened


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    yield opened
    opened.close()


def job(state: Any = "succeeded", version: int | None = 2, **more: Any) -> Job:
    trigger = Trigger(kind="person")
    given = {"id": "j", "number": 1, "made_at": AT, "changed_at": AT, "entered_at": AT} | more
    return Job(model=MODEL, state=state, trigger=trigger, version=version, **given)


def wrong(registry: Registry, *known: Job) -> str:
    history = registry.history(MODEL)
    return "\n".join(invariants.of_registry(registry, history, known))


def test_a_registry_in_which_a_job_stands_behind_each_promotion_is_whole(
    registry: Registry,
) -> None:
    assert wrong(registry, job()) == ""


def test_who_was_promoted_without_a_job_or_by_one_that_was_not_so_far_is_told(
    registry: Registry,
) -> None:
    assert "version 2 was promoted by retraining j: no job" in wrong(registry)
    assert "a job that is rejected" in wrong(registry, job("rejected"))
    registry.rollback(MODEL, who="a test")
    registry.promote(MODEL, 2, who="retraining j")
    assert "job j was promoted twice" in wrong(registry, job())


def test_a_champion_that_takes_nobodys_place_is_told(registry: Registry, tmp_path: Path) -> None:
    last = registry.history(MODEL)[-1]
    change = made(last, "rollback", "champion", 1, who="a test", why="")
    store = LocalStore(tmp_path / "registry")
    assert append(store, MODEL, msgspec.structs.replace(change, before=7))
    assert "replaces version 7, version 2 was champion" in wrong(registry, job())


def test_half_a_bundle_is_told(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "registry" / MODEL / "2" / "model.fp32.onnx").write_bytes(b"half")
    assert "version 2 is visible and not whole" in wrong(registry, job())


def test_a_lost_label_is_told_and_one_that_is_there_is_not(ledger: Ledger) -> None:
    prediction = jobs.new_id(AT, 1)
    ledger.add_predictions([Prediction(prediction, 0, MODEL, 1, AT, 0, 0.9, 1.0, "v2")])
    ledger.add_labels([Label(prediction, 0, "positive", "", AT, AT)])
    kept = [Told(prediction, 0, "positive")]
    assert list(invariants.of_ledger(ledger, [], kept)) == []
    other = Told(jobs.new_id(AT, 2), 0, "positive")
    [told] = invariants.of_ledger(ledger, [], [*kept, other])
    assert told.startswith("1 of 2 acknowledged labels are lost")


def test_events_that_do_not_lead_to_the_job_are_told(ledger: Ledger) -> None:
    found = jobs.began("j", MODEL, Trigger(kind="person"), "queued", AT)
    one = ledger.jobs.add(found)
    one = ledger.jobs.save(one, jobs.moved(one, "submitted", AT))
    assert list(invariants.of_ledger(ledger, [one], [])) == []
    changed = msgspec.structs.replace(one, state="running")
    assert list(invariants.of_ledger(ledger, [changed], [])) == [
        "job j is running, its events say submitted"
    ]
    more = msgspec.structs.replace(one, number=3)
    assert list(invariants.of_ledger(ledger, [more], [])) == [
        "job j has events [1, 2], its last is 3"
    ]
    both = [one, msgspec.structs.replace(one, id="k", number=0)]
    assert next(iter(invariants.of_ledger(ledger, both, []))) == "2 jobs are active: j, k"


def test_a_job_that_ended_badly_is_told(registry: Registry, tmp_path: Path) -> None:
    world: Any = SimpleNamespace(
        models=tmp_path / "models",
        registry=tmp_path / "registry",
        processes=lambda kind, holding: [1],
        directory=lambda one: tmp_path / one,
    )
    (tmp_path / "j").mkdir()
    (tmp_path / "j" / "traffic.npz").touch()
    assert list(invariants.of_ended(world, job("failed", None))) == [
        "job j is failed without a reason",
        "job j is failed, and 1 processes still run for it",
        "job j is failed and keeps traffic.npz",
    ]
    assert list(invariants.of_ended(world, job("running"))) == ["job j is running"]
    lost = list(invariants.of_ended(world, job(version=9, reason="why")))
    assert lost[-1] == "job j is succeeded, and its version 9 is not there"


def test_every_fault_comes_equally_often_and_only_where_it_has_something_to_hit(
    tmp_path: Path,
) -> None:
    world: Any = SimpleNamespace(ledger=f"sqlite:///{tmp_path / 'ledger.sqlite'}")
    course = Course(world, SimpleNamespace(), seed=3)  # type: ignore[arg-type]
    planned = [course._planned(number) for number in range(10 * BLOCK * len(FAULTS))]
    counts = {name: sum(fault == name for fault, _ in planned) for name in FAULTS}
    assert set(counts.values()) == {10 * BLOCK}
    assert all(aim in AIMS[fault] for fault, aim in planned if fault in AIMS)
    assert planned[:12] == [course._planned(number) for number in range(12)]
    course._ledger.close()


def test_a_full_disk_takes_no_byte_more_until_there_is_room(tmp_path: Path) -> None:
    with disk(tmp_path / "disk") as one:
        if "tmpfs" not in one.told:
            pytest.skip("this machine lets nobody mount")
        file = one.path / "file"
        one.fill([])
        with pytest.raises(OSError, match="No space left"):
            file.write_bytes(b"x")
        one.free([])
        file.write_bytes(b"x")


def test_the_page_tells_what_was_hit_and_what_did_not_hold() -> None:
    hit = Interruption(0, "disk full", "for 1 s", "j", "running", "fit", 0.5, 1.0, ("torn",))
    ended = Ended("j", "failed", "the disk was full", None, 9.0, (0,), ("kept a file",))
    page = found.markdown(Found("2026-01-01", {}, 1, "a tmpfs", 60.0, 12, 1, 1, [hit], [ended]))
    assert "**2 violations**" in page
    assert "interruption 0 (disk full, running fit): torn" in page
    assert "| disk full | 1 |" in page
    assert "| failed | 1 | 1 | the disk was full (1) |" in page
