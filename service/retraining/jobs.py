"""A retraining from the trigger to its end: its states, and what may follow what. Pure; it must not know who drives it or where it is kept.

    suppressed -> queued -> submitted -> running -> evaluating -> awaiting_approval -> promoting -> watching -> succeeded
                                                              \\-> rejected                                  \\-> rolled_back
    from every state before watching: cancelled, failed, expired

A job changes by events alone. They are numbered from 1, and what a job is follows from the last of them.
"""

from typing import Any, Literal
from uuid import UUID

import msgspec

from models.errors import Conflict, InputError
from service.errors import Refused
from service.retraining.gate import Verdict
from service.retraining.policy import Condition, Decision
from service.retraining.triggers import Trigger

State = Literal[
    "suppressed",
    "queued",
    "submitted",
    "running",
    "evaluating",
    "awaiting_approval",
    "promoting",
    "watching",
    "succeeded",
    "rejected",
    "failed",
    "cancelled",
    "expired",
    "rolled_back",
]
Kind = Literal["state", "progress", "note", "request_labels"]

GIVEN_UP: tuple[State, ...] = ("failed", "cancelled", "expired")
FOLLOWS: dict[State, tuple[State, ...]] = {
    "suppressed": ("queued",),
    "queued": ("submitted", *GIVEN_UP),
    "submitted": ("running", *GIVEN_UP),
    "running": ("evaluating", *GIVEN_UP),
    "evaluating": ("awaiting_approval", "promoting", "rejected", *GIVEN_UP),
    "awaiting_approval": ("promoting", "rejected", *GIVEN_UP),
    "promoting": ("watching", "rejected", *GIVEN_UP),
    "watching": ("succeeded", "rolled_back", "failed"),
    "succeeded": (),
    "rejected": (),
    "failed": (),
    "cancelled": (),
    "expired": (),
    "rolled_back": (),
}
"""A trigger that was suppressed and comes again may be allowed then: it becomes the job. What was promoted is no longer to be cancelled,
but rolled back."""
FIRST: tuple[State, ...] = ("queued", "suppressed")
ENDED = frozenset(state for state, after in FOLLOWS.items() if not after)
ACTIVE = frozenset(FOLLOWS) - ENDED - {"suppressed"}
"""While a job is in one of these, its model has no other."""


class Learnt(msgspec.Struct, frozen=True, kw_only=True):
    """What a training was given. Labels are those since the last training; `trained`, `held_out` and `reference` are rows written for it.

    `left_out`: labelled rows by why they were not used. `position`: of the newest label that was known then. The hashes are of the files.
    """

    labels: int
    with_payload: int
    trained: int
    held_out: int
    reference: int = 0
    left_out: dict[str, int] = {}
    since: float | None = None
    until: float | None = None
    sha256: str = ""
    held_out_sha256: str = ""
    position: int = 0


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far the state that it is in has come."""

    stage: str
    done: float = 0.0
    total: float = 0.0
    loss: float | None = None
    accuracy: float | None = None
    text: str = ""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as its events made it. Times in seconds since 1970.

    `number` is that of its last event. `entered_at`: when it came into its state. `queued_at`: when the policy allowed it; None while it has not. `parent` is the champion whose place
    `version` is to take; both are None until they are known. `reference` is where the launcher finds the run again. `cancel`: who wants it
    ended; `approved`: who let it go on; `turned_down`: by whom it was not, and why.
    """

    id: str
    model: str
    state: State
    number: int
    trigger: Trigger
    made_at: float
    changed_at: float
    entered_at: float
    queued_at: float | None = None
    reason: str = ""
    conditions: tuple[Condition, ...] = ()
    parent: int | None = None
    version: int | None = None
    reference: str | None = None
    learnt: Learnt | None = None
    progress: Progress | None = None
    gate: Verdict | None = None
    champion: int | None = None
    """Whom it was compared with, and is to replace: the parent, unless somebody promoted another meanwhile."""
    promised: float | None = None
    """The error of the challenger on the newest labels, at worst: what it is watched by."""
    wanted: tuple[str, ...] = ()
    """Predictions that are most worth a label, where labels are all that is missing."""
    cancel: str | None = None
    approved: str | None = None
    turned_down: str | None = None

    @property
    def active(self) -> bool:
        """Whether something is still to be done for it."""
        return self.state in ACTIVE

    @property
    def ended(self) -> bool:
        """Whether nothing will happen to it any more."""
        return self.state in ENDED


class Plan(msgspec.Struct, frozen=True):
    """What a trigger would come to, and both numbers of labels since the last training."""

    model: str
    fire: bool
    reason: str
    decision: Decision
    labels: int
    labels_with_payload: int


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened to a job. `data`: the fields of the job that it changed."""

    job: str
    number: int
    at: float
    kind: Kind
    state: State
    text: str = ""
    data: dict[str, Any] = {}


class Found(msgspec.Struct, frozen=True):
    """An event and the job after it."""

    job: Job
    event: Event


def new_id(at: float, noise: int) -> str:
    """An id of version 7: it sorts by `at`. `noise`: 74 bits by lot."""
    high, low = noise >> 62 & 0xFFF, noise & (1 << 62) - 1
    return str(UUID(int=int(at * 1000) << 80 | 7 << 76 | high << 64 | 2 << 62 | low))


def began(job_id: str, model: str, trigger: Trigger, state: State, at: float, **more: Any) -> Found:
    """A job with its first event."""
    if state not in FIRST:
        raise ValueError(f"a job does not begin as {state}")
    job = Job(
        id=job_id,
        model=model,
        state=state,
        number=0,
        trigger=trigger,
        made_at=at,
        changed_at=at,
        entered_at=at,
    )
    return happened(job, "state", state, at, **more)


def moved(job: Job, state: State, at: float, reason: str = "", **more: Any) -> Found:
    """The job in its next state. Refused where that cannot follow."""
    if state not in FOLLOWS[job.state]:
        raise Refused(f"job {job.id} is {job.state}: it cannot become {state}")
    return happened(job, "state", state, at, reason=reason, progress=None, **more)


def noted(job: Job, kind: Kind, at: float, text: str = "", **more: Any) -> Found:
    """Something happened that leaves the state as it is. Refused once nothing will happen to it any more."""
    if job.ended:
        raise Refused(f"job {job.id} has ended: it is {job.state}")
    return happened(job, kind, job.state, at, text=text, **more)


def happened(job: Job, kind: Kind, state: State, at: float, text: str = "", **more: Any) -> Found:
    """An event, and the job after it."""
    if kind == "state":
        more |= {"entered_at": at}
    if state == "queued" and job.queued_at is None:
        more |= {"queued_at": at}
    after = msgspec.structs.replace(
        job, state=state, number=job.number + 1, changed_at=max(at, job.changed_at), **more
    )
    event = Event(
        job=job.id,
        number=after.number,
        at=after.changed_at,
        kind=kind,
        state=state,
        text=text or more.get("reason", ""),
        data=msgspec.to_builtins(
            {name: value for name, value in more.items() if value is not None}
        ),
    )
    return Found(after, event)


def check_same(job: Job, trigger: Trigger) -> None:
    """InputError where a key comes again with another request."""
    if trigger.kind == "person" and job.trigger.digest != trigger.digest:
        raise InputError(
            f"Idempotency-Key '{trigger.key[:80]}' was used for job {job.id}, which was asked for in other words"
        )


def check_cancel(job: Job) -> None:
    """Refused where it cannot be cancelled."""
    if "cancelled" not in FOLLOWS[job.state]:
        told = (
            "it has been promoted: roll the model back"
            if job.state == "watching"
            else "it has ended"
        )
        raise Refused(f"job {job.id} is {job.state} and cannot be cancelled: {told}")


def check_awaiting(job: Job) -> None:
    """Refused where nobody waits for an approval."""
    if job.state != "awaiting_approval":
        raise Refused(f"job {job.id} is {job.state}, it does not wait for an approval")


def behind(job: Job) -> Conflict:
    """What is raised where a job has changed since it was read."""
    return Conflict(
        f"job {job.id} has changed since event {job.number}: look again and decide anew"
    )
