"""Retrainings in both databases: one active job for a model, one job for a key, one driver, and events that agree with the job."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from models.errors import Conflict, InputError
from service.ledger.jobs import HASH_BYTES
from service.ledger.ledger import Ledger
from service.retraining import jobs
from service.retraining.jobs import Found, Job
from service.retraining.triggers import Trigger


def trigger(key: str = "", **more: Any) -> Trigger:
    return Trigger(**({"kind": "person", "key": key} | more))


def new(number: int, model: str = "m", key: str = "", state: Any = "queued", **more: Any) -> Found:
    """A job whose id sorts by its number."""
    made = jobs.new_id(float(number), number)
    return jobs.began(made, model, trigger(key, **more), state, float(number))


def end(ledger: Ledger, job: Job, *states: Any, **more: Any) -> Job:
    for state in states:
        job = ledger.jobs.save(job, jobs.moved(job, state, job.changed_at + 1), **more)
    return job


WON = ("submitted", "running", "evaluating", "promoting", "watching", "succeeded")


def test_a_job_is_there_as_it_was_written(ledger: Ledger):
    found = new(1)
    assert ledger.jobs.add(found) == found.job
    assert ledger.jobs.get(found.job.id) == found.job
    assert ledger.jobs.events(found.job.id) == [found.event]
    assert ledger.jobs.get("another") is None


def test_a_model_has_one_active_job_and_others_have_theirs(ledger: Ledger):
    first = ledger.jobs.add(new(1))
    with pytest.raises(Conflict, match=f"job {first.id} of 'm' is under way"):
        ledger.jobs.add(new(2))
    assert ledger.jobs.add(new(3, "other")).model == "other"
    end(ledger, first, "cancelled")
    assert ledger.jobs.add(new(4)).state == "queued"
    assert {one.model for one in ledger.jobs.active()} == {"m", "other"}
    assert [one.model for one in ledger.jobs.active("other")] == ["other"]


def test_the_same_key_is_the_same_job(ledger: Ledger):
    first = ledger.jobs.add(new(1, key="k"))
    assert ledger.jobs.add(new(2, key="k")) == first
    assert ledger.jobs.keyed("m", "k") == first
    assert ledger.jobs.keyed("other", "k") is None
    with pytest.raises(InputError, match="Idempotency-Key"):
        ledger.jobs.add(new(3, key="k", reason="something else"))
    ended = end(ledger, first, "failed")
    assert ledger.jobs.add(new(4, key="k")) == ended


def test_a_suppressed_trigger_leaves_room_and_may_become_the_job(ledger: Ledger):
    refused = ledger.jobs.add(new(1, key="k", state="suppressed"))
    other = ledger.jobs.add(new(2))
    with pytest.raises(Conflict, match="is under way"):
        ledger.jobs.save(refused, jobs.moved(refused, "queued", 3.0))
    end(ledger, other, "cancelled")
    assert ledger.jobs.save(refused, jobs.moved(refused, "queued", 4.0)).active


def test_who_has_not_seen_the_last_event_is_told(ledger: Ledger):
    job = ledger.jobs.add(new(1))
    after = ledger.jobs.save(job, jobs.moved(job, "submitted", 2.0))
    with pytest.raises(Conflict, match="has changed since event 1"):
        ledger.jobs.save(job, jobs.moved(job, "cancelled", 3.0))
    assert ledger.jobs.get(job.id) == after
    assert [one.state for one in ledger.jobs.events(job.id)] == ["queued", "submitted"]


def test_events_go_on_behind_a_number(ledger: Ledger):
    job = end(ledger, ledger.jobs.add(new(1)), "submitted", "running")
    noted = jobs.noted(job, "progress", 9.0, "half", progress=jobs.Progress("fit", 1, 2))
    job = ledger.jobs.save(job, noted)
    assert job.progress == jobs.Progress("fit", 1, 2)
    assert [one.number for one in ledger.jobs.events(job.id, 2)] == [3, 4]
    assert [one.number for one in ledger.jobs.events(job.id, 0, limit=2)] == [1, 2]
    assert ledger.jobs.events(job.id, 4) == []
    assert ledger.jobs.events(job.id, 3)[0].data["progress"]["stage"] == "fit"


def test_the_newest_come_first_page_by_page(ledger: Ledger):
    made = [ledger.jobs.add(new(n, f"m{n % 2}", state="suppressed")) for n in range(1, 6)]
    assert ledger.jobs.newest() == made[::-1]
    assert ledger.jobs.newest(before=made[3].id, limit=2) == [made[2], made[1]]
    assert ledger.jobs.newest("m1") == [made[4], made[2], made[0]]
    assert ledger.jobs.newest(state="queued") == []
    assert ledger.jobs.begun("m1") == []


def test_old_jobs_are_told_part_by_part_and_forgotten_with_their_events(ledger: Ledger):
    made = [ledger.jobs.add(new(n, state="suppressed")) for n in range(1, 5)]
    active = ledger.jobs.add(new(5))
    ledger.jobs.add(new(6, "other", state="suppressed"))
    assert ledger.jobs.old("m", "", active.id, 3) == made[:3]
    assert ledger.jobs.old("m", made[2].id, jobs.new_id(9.0, 9), 3) == made[3:]
    assert ledger.jobs.forget([made[0].id, made[1].id, active.id]) == 2
    assert ledger.jobs.newest("m") == [active, made[3], made[2]]
    assert ledger.jobs.events(made[0].id) == []
    assert len(ledger.jobs.events(active.id)) == 1
    assert ledger.jobs.forget([]) == 0


def test_rows_that_champions_learnt_from_are_known(ledger: Ledger):
    hashes = [bytes([n]) * 32 for n in range(3)]
    job = ledger.jobs.add(new(1))
    job = end(ledger, job, "submitted", trained=hashes)
    assert ledger.jobs.trained("m", ("succeeded",)) == set()
    end(ledger, job, *WON[1:])
    assert ledger.jobs.trained("m", ("succeeded",)) == {one[:HASH_BYTES] for one in hashes}
    assert ledger.jobs.trained("other", ("succeeded",)) == set()


def test_one_service_drives_until_its_lease_ends(ledger: Ledger):
    job = ledger.jobs.add(new(1))
    assert ledger.jobs.lease(job.id, "a", 10.0, 40.0)
    assert ledger.jobs.lease(job.id, "a", 20.0, 50.0)
    assert not ledger.jobs.lease(job.id, "b", 49.0, 80.0)
    assert ledger.jobs.lease(job.id, "b", 51.0, 81.0)
    assert not ledger.jobs.lease(job.id, "a", 52.0, 82.0)
    end(ledger, job, "cancelled")
    assert not ledger.jobs.lease(job.id, "b", 53.0, 83.0)


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What so many threads come to that begin together."""
    ready = threading.Barrier(count)

    def run(number: int) -> Any:
        ready.wait(30)
        try:
            return work(number)
        except Conflict as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


def test_of_ten_triggers_at_once_one_is_the_job(ledger: Ledger):
    found = at_once(10, lambda n: ledger.jobs.add(new(n + 1)))
    assert sum(isinstance(one, Job) for one in found) == 1
    assert len(ledger.jobs.active()) == 1


def test_ten_times_the_same_key_at_once_is_one_job(ledger: Ledger):
    found = at_once(10, lambda n: ledger.jobs.add(new(n + 1, key="k")))
    assert len({one.id for one in found}) == 1
    assert len(ledger.jobs.newest()) == 1


def test_of_ten_who_change_a_job_at_once_one_does(ledger: Ledger):
    job = ledger.jobs.add(new(1))
    found = at_once(10, lambda n: ledger.jobs.save(job, jobs.moved(job, "submitted", 2.0 + n)))
    assert sum(isinstance(one, Job) for one in found) == 1
    assert len(ledger.jobs.events(job.id)) == 2
