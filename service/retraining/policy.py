"""Whether a trigger may start a training. Pure: it is handed the facts and the time, and says every condition with both numbers.

trigger + facts -> conditions -> fire, or the reasons why not; drift without labels asks for labels instead
"""

from collections.abc import Iterator, Mapping
from typing import Annotated, Literal

import msgspec

HOUR, WEEK = 3600.0, 7 * 86_400.0

Reason = Literal["person", "schedule", "drift", "alert"]


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When a model may be trained again: [models.NAME.retraining] in the settings."""

    automatic: bool = False
    """Whether drift with harm may start a training by itself. A person, an alert and the schedule may either way."""
    min_labels: Annotated[int, msgspec.Meta(ge=1)] = 1000
    """Labels since the last training whose rows were kept: only those can be learnt from."""
    min_per_class: Annotated[int, msgspec.Meta(ge=0)] = 50
    cooldown_h: Annotated[float, msgspec.Meta(ge=0)] = 24.0
    """No training begins sooner after the last one began, unless a person asks."""
    most_a_week: Annotated[int, msgspec.Meta(ge=1)] = 3
    """Trainings that nobody asked for in person, within seven days."""
    most_rejected: Annotated[int, msgspec.Meta(ge=1)] = 2
    """After that many challengers in a row that were rejected or taken back, only a person starts another."""
    most_invalid: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.01
    """The share of inputs that cannot be read from which on nothing is learnt from them: a broken sensor wants a person."""
    every_days: Annotated[float, msgspec.Meta(gt=0)] | None = None
    """Train on a schedule. Not set: never."""
    approval: bool = False
    """Whether a person has to approve what passed the gate."""


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a model. Times in seconds since the epoch; labels are those since the last training."""

    now: float
    retrainable: str | None = None
    """Why it cannot be trained here, if it cannot."""
    active: str | None = None
    """The job that is under way."""
    labels: int = 0
    trainable: Mapping[str, int] = {}
    """Labels whose rows were kept, by class; every class of the model is named."""
    begun: tuple[float, ...] = ()
    """When trainings began, newest first."""
    unasked: tuple[float, ...] = ()
    """Those of them that no person asked for."""
    rejected: int = 0
    """Challengers in a row, up to now, that were rejected or taken back."""
    invalid: float = 0.0
    """The share of inputs that could not be read lately."""
    drifting: bool = False
    harmful: bool = False


class Condition(msgspec.Struct, frozen=True):
    """One thing that has to hold: `value` against `limit`, in words in `text`."""

    name: str
    holds: bool
    value: float
    limit: float
    text: str


class Decision(msgspec.Struct, frozen=True):
    """`fire`, or the sentence why not. `ask_for_labels`: labels are all that is missing."""

    fire: bool
    reason: str
    conditions: tuple[Condition, ...]
    ask_for_labels: bool


LABELS = ("labels", "labels per class")
"""Conditions that people can meet by labelling."""


def decide(trigger: Reason, facts: Facts, policy: Policy) -> Decision:
    """What a trigger comes to."""
    conditions = tuple(conditions_of(trigger, facts, policy))
    broken = [one for one in conditions if not one.holds]
    missing = bool(broken) and all(one.name in LABELS for one in broken)
    reason = "; ".join(one.text for one in broken) or "every condition holds"
    return Decision(not broken, reason, conditions, missing)


def wanted(facts: Facts, policy: Policy) -> Reason | None:
    """The trigger that the facts are by themselves: drift with harm, or the schedule."""
    if policy.automatic and facts.drifting and facts.harmful:
        return "drift"
    last = facts.begun[0] if facts.begun else None
    due = policy.every_days is not None and (
        last is None or facts.now - last >= policy.every_days * 24 * HOUR
    )
    return "schedule" if due else None


def conditions_of(trigger: Reason, facts: Facts, policy: Policy) -> Iterator[Condition]:
    """Everything that has to hold. What only protects from machines that repeat themselves does not bind a person."""
    can = facts.retrainable is None
    yield Condition("retrainable", can, float(can), 1.0, facts.retrainable or "it can be trained")
    free = facts.active is None
    told = "no job is under way" if free else f"job {facts.active} is under way"
    yield Condition("one job", free, float(not free), 0.0, told)
    yield from labelled(facts, policy)
    yield clean(facts, policy)
    if trigger != "person":
        yield from patient(facts, policy)


def labelled(facts: Facts, policy: Policy) -> Iterator[Condition]:
    """Enough to learn from."""
    enough = sum(facts.trainable.values())
    text = f"{enough} labels with kept rows since the last training (of {facts.labels} labels), {policy.min_labels} are needed"
    yield Condition("labels", enough >= policy.min_labels, enough, policy.min_labels, text)
    name, fewest = min(facts.trainable.items(), key=lambda one: one[1], default=("any", 0))
    text = f"{fewest} of them of class '{name}', {policy.min_per_class} of every class are needed"
    holds = fewest >= policy.min_per_class
    yield Condition("labels per class", holds, fewest, policy.min_per_class, text)


def clean(facts: Facts, policy: Policy) -> Condition:
    """What is broken is not learnt."""
    text = f"{facts.invalid:.1%} of the inputs cannot be read, {policy.most_invalid:.1%} is where training stops: look at what sends them"
    holds = facts.invalid < policy.most_invalid or facts.invalid == 0
    return Condition("data quality", holds, facts.invalid, policy.most_invalid, text)


def patient(facts: Facts, policy: Policy) -> Iterator[Condition]:
    """Not too soon, not too often, not after failing twice."""
    hours = (facts.now - facts.begun[0]) / HOUR if facts.begun else float("inf")
    since = "none before" if hours == float("inf") else f"the last began {hours:.1f} h ago"
    text = f"{since}, {policy.cooldown_h:g} h have to pass"
    value = hours if facts.begun else policy.cooldown_h  # JSON has no infinity
    yield Condition("cooldown", hours >= policy.cooldown_h, value, policy.cooldown_h, text)
    lately = sum(facts.now - at < WEEK for at in facts.unasked)
    text = f"{lately} trainings in seven days that nobody asked for, fewer than {policy.most_a_week} are allowed"
    yield Condition("rate", lately < policy.most_a_week, lately, policy.most_a_week, text)
    text = f"the last {facts.rejected} challengers were rejected, after {policy.most_rejected} a person has to look"
    holds = facts.rejected < policy.most_rejected
    yield Condition("circuit breaker", holds, facts.rejected, policy.most_rejected, text)
