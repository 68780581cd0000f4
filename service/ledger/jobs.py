"""Retrainings in the ledger: each event of a job in one transaction with the job as it is after it. It must not know what a state means to whom.

Whoever changes a job says which event it has seen last; of two, one is told that the job has changed. One service at a time drives a
job, for as long as it renews its lease.
"""

from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Select, delete, or_, select, update

from models.errors import Conflict
from service.ledger.database import Database
from service.ledger.schema import job_events, jobs
from service.retraining.jobs import Event, Found, Job, behind, check_same

HASH_BYTES = 8
"""What is kept of a trained row's sha256."""

_encoder = msgspec.msgpack.Encoder()
_job = msgspec.msgpack.Decoder(Job)
_data = msgspec.msgpack.Decoder(dict[str, Any])

EVENT = tuple(job_events.c[name] for name in ("job", "number", "at", "kind", "state", "text"))


class Jobs:
    """All retrainings of the machines that share a ledger; calls may come from any thread. Unavailable when it cannot be had now."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, found: Found) -> Job:
        """A new job, or the one that its trigger's key has made. Conflict where its model has another that is active.

        InputError where the key was used for something else.
        """
        job, key = found.job, found.job.trigger.key or None
        with self._database.appending() as connection:
            if key is not None:
                same = select(jobs.c.data).where(jobs.c.model == job.model, jobs.c.key == key)
                if (known := connection.execute(same).scalar()) is not None:
                    check_same(before := _job.decode(known), job.trigger)
                    return before
            self._check_alone(connection, job)
            row = {**columns(job), "key": key, "driver": "", "driven_until": 0.0, "trained": None}
            connection.execute(jobs.insert().values(**row))
            write(connection, found.event)
        return job

    def save(self, before: Job, found: Found, trained: Sequence[bytes] | None = None) -> Job:
        """The job after an event. Conflict where it is no longer as it was `before`, or its model has another that is active.

        `trained`: hashes of the rows that it learns from.
        """
        told = columns(found.job)
        if trained is not None:
            told["trained"] = b"".join(one[:HASH_BYTES] for one in trained)
        with self._database.appending() as connection:
            if found.job.active and not before.active:
                self._check_alone(connection, found.job)
            seen = (jobs.c.id == before.id, jobs.c.number == before.number)
            if connection.execute(update(jobs).where(*seen).values(**told)).rowcount != 1:
                raise behind(before)
            write(connection, found.event)
        return found.job

    def get(self, job: str) -> Job | None:
        """One job."""
        found = self._read(select(jobs.c.data).where(jobs.c.id == job))
        return found[0] if found else None

    def keyed(self, model: str, key: str) -> Job | None:
        """The job that a key has made."""
        found = self._read(select(jobs.c.data).where(jobs.c.model == model, jobs.c.key == key))
        return found[0] if found else None

    def newest(
        self,
        model: str | None = None,
        state: str | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> list[Job]:
        """The newest jobs, the newest first; those made before the job `before`."""
        question = select(jobs.c.data).order_by(jobs.c.id.desc()).limit(limit)
        if model is not None:
            question = question.where(jobs.c.model == model)
        if state is not None:
            question = question.where(jobs.c.state == state)
        if before is not None:
            question = question.where(jobs.c.id < before)
        return self._read(question)

    def active(self, model: str | None = None) -> list[Job]:
        """All that something is still to be done for."""
        question = select(jobs.c.data).where(jobs.c.active.is_not(None))
        return self._read(question if model is None else question.where(jobs.c.active == model))

    def begun(self, model: str, limit: int = 100) -> list[Job]:
        """The newest jobs of a model that the policy allowed, the newest first."""
        question = select(jobs.c.data).where(jobs.c.model == model, jobs.c.state != "suppressed")
        return self._read(question.order_by(jobs.c.id.desc()).limit(limit))

    def old(self, model: str, after: str, before: str, limit: int) -> list[Job]:
        """Jobs of a model that nothing is to be done for, made after the job `after` and before the id `before`, the oldest first."""
        mine = (jobs.c.model == model, jobs.c.active.is_(None))
        question = select(jobs.c.data).where(*mine, jobs.c.id > after, jobs.c.id < before)
        return self._read(question.order_by(jobs.c.id).limit(limit))

    def forget(self, ids: Sequence[str]) -> int:
        """Take jobs away with their events, but for those that are active; how many went."""
        with self._database.appending() as connection:
            over = select(jobs.c.id).where(jobs.c.id.in_(ids), jobs.c.active.is_(None))
            connection.execute(delete(job_events).where(job_events.c.job.in_(over)))
            return connection.execute(delete(jobs).where(jobs.c.id.in_(over))).rowcount

    def events(self, job: str, after: int = 0, limit: int = 500) -> list[Event]:
        """What happened to a job after an event, oldest first."""
        question = (
            select(*EVENT, job_events.c.data)
            .where(job_events.c.job == job, job_events.c.number > after)
            .order_by(job_events.c.number)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [
                Event(**row._asdict() | {"data": _data.decode(row.data)})
                for row in connection.execute(question)
            ]

    def trained(self, model: str, states: Sequence[str]) -> set[bytes]:
        """Hashes of the rows that jobs of a model in these states have learnt from, HASH_BYTES each."""
        question = select(jobs.c.trained).where(
            jobs.c.model == model, jobs.c.state.in_(states), jobs.c.trained.is_not(None)
        )
        with self._database.reading() as connection:
            joined = [bytes(row.trained) for row in connection.execute(question)]
        return {
            one[at : at + HASH_BYTES] for one in joined for at in range(0, len(one), HASH_BYTES)
        }

    def lease(self, job: str, driver: str, now: float, until: float) -> bool:
        """Whether `driver` may drive the job until then: nobody else does."""
        free = or_(jobs.c.driver == driver, jobs.c.driven_until < now)
        taken = update(jobs).where(jobs.c.id == job, jobs.c.active.is_not(None), free)
        with self._database.writing() as connection:
            done = connection.execute(taken.values(driver=driver, driven_until=until))
            return done.rowcount == 1

    def _check_alone(self, connection: Connection, job: Job) -> None:
        """Conflict where the model has an active job. The transaction holds the lock that all writers of jobs take."""
        other = select(jobs.c.id).where(jobs.c.active == job.model, jobs.c.id != job.id)
        if job.active and (found := connection.execute(other).scalar()) is not None:
            raise Conflict(f"job {found} of '{job.model}' is under way")

    def _read(self, question: Select[Any]) -> list[Job]:
        with self._database.reading() as connection:
            return [_job.decode(row.data) for row in connection.execute(question)]


def columns(job: Job) -> dict[str, Any]:
    """A job as its row."""
    return {
        "id": job.id,
        "model": job.model,
        "state": job.state,
        "number": job.number,
        "active": job.model if job.active else None,
        "data": _encoder.encode(job),
    }


def write(connection: Connection, event: Event) -> None:
    """Add an event."""
    told = msgspec.structs.asdict(event) | {"data": _encoder.encode(event.data)}
    connection.execute(job_events.insert().values(**told))
