"""Triggers as they come: held against the policy, and made a job, or kept with the reason why not. It must not know how a job is driven.

trigger -> known by its key? -> facts -> policy -> queued | suppressed
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from models.errors import Conflict
from models.job import Value
from service.errors import NotFound
from service.ledger.records import Counted
from service.retraining.jobs import Job, Plan, check_same
from service.retraining.journal import Journal
from service.retraining.place import Place
from service.retraining.policy import LABELS, Facts, decide, wanted
from service.retraining.readiness import Readiness
from service.retraining.training import WON
from service.retraining.triggers import Trigger

REJECTED = ("rejected", "rolled_back")
ITSELF = "evergreen"
"""Who asks where nobody does."""
WANTED = 20
"""Rows that are named when labels are all that is missing."""
FEWEST_REQUESTS = 100
"""Before so many requests, a share of refused ones says nothing."""


class Traffic(NamedTuple):
    """What monitoring knows of a champion now. `harmful`: labels show that it hurts; `evidence`: what says so."""

    requests: int = 0
    invalid: float = 0.0
    drifting: bool = False
    harmful: bool = False
    evidence: dict[str, Value] = {}  # noqa: RUF012 - read, never written


class Known(NamedTuple):
    """What is asked of others. `traffic`: of a model's champion; `wanted`: rows that are worth a label."""

    traffic: Callable[[str], Awaitable[Traffic]]
    wanted: Callable[[str, int], Awaitable[Sequence[str]]]


class Deciding:
    """One service's."""

    def __init__(
        self,
        place: Place,
        journal: Journal,
        readiness: Readiness,
        known: Known,
    ) -> None:
        self._place, self._lifecycle, self._journal = place, place.lifecycle, journal
        self._ledger, self._writer = place.ledger, place.writer
        self._readiness, self._known = readiness, known

    async def trigger(self, model: str, trigger: Trigger) -> Job:
        """The job that comes of it: new, known by its key, or suppressed. NotFound, InputError, Unavailable."""
        before = await self._before(model, trigger)
        if before is not None and before.state != "suppressed":
            return before
        plan = await self.plan(model, trigger)
        if plan.fire:
            try:
                return await self._queue(model, trigger, plan, before)
            except Conflict as error:
                before = await self._before(model, trigger)
                if before is not None and before.state != "suppressed":
                    return before  # the same one came twice at the same time
                plan = msgspec.structs.replace(plan, fire=False, reason=str(error))
        job = await self._suppress(model, trigger, plan, before)
        if plan.decision.ask_for_labels and trigger.kind == "drift":
            await self._ask_for_labels(job, plan, before)
        return job

    async def plan(self, model: str, trigger: Trigger) -> Plan:
        """What a trigger would come to now."""
        facts, counted = await self.facts(model)
        decision = decide(trigger.kind, facts, self._place.of(model).retraining)
        kept = sum(counted.by_class.values())
        return Plan(model, decision.fire, decision.reason, decision, counted.labels, kept)

    async def facts(self, model: str) -> tuple[Facts, Counted]:
        """What the policy is handed."""
        manifest = await asyncio.to_thread(self._manifest, model)
        begun = await self._writer.run(self._ledger.jobs.begun, model)
        last = next((one.learnt for one in begun if one.state in WON and one.learnt), None)
        position = 0 if last is None else last.position
        counted = await self._writer.run(self._ledger.learning.counted, model, position)
        seen = await self._known.traffic(model)
        labels = () if manifest is None else manifest.labels
        facts = Facts(
            now=self._place.clock(),
            retrainable=await self._readiness.missing(model, manifest),
            active=next((one.id for one in begun if one.active), None),
            labels=counted.labels,
            trainable={name: counted.by_class.get(name, 0) for name in labels},
            begun=tuple(one.queued_at or one.made_at for one in begun),
            unasked=tuple(
                one.queued_at or one.made_at for one in begun if one.trigger.kind != "person"
            ),
            rejected=rejected(begun),
            invalid=seen.invalid if seen.requests >= FEWEST_REQUESTS else 0.0,
            drifting=seen.drifting,
            harmful=seen.harmful,
        )
        return facts, counted

    async def by_itself(self, model: str) -> Trigger | None:
        """The trigger that a model is in without anybody pulling it: drift with harm, or the schedule. None while a job is under way."""
        options = self._place.of(model).retraining
        if not options.automatic and options.every_days is None:
            return None
        begun = await self._writer.run(self._ledger.jobs.begun, model)
        if any(one.active for one in begun):
            return None
        seen = await self._known.traffic(model)
        since = tuple(one.queued_at or one.made_at for one in begun)
        now = self._place.clock()
        facts = Facts(now=now, begun=since, drifting=seen.drifting, harmful=seen.harmful)
        kind = wanted(facts, options)
        if kind is None:
            return None
        # It is the same trigger until it has become a job.
        key = f"{kind} after {begun[0].id}" if begun else f"first {kind}"
        reason = "the traffic moved, and labels show that it hurts"
        if kind == "schedule":
            return Trigger(kind=kind, reason="the schedule", who=ITSELF, key=key)
        return Trigger(kind=kind, reason=reason, who=ITSELF, key=key, evidence=seen.evidence)

    async def retrainable(self, model: str) -> dict[str, Any]:
        """What the page of a model says."""
        manifest = await asyncio.to_thread(self._manifest, model)
        missing = await self._readiness.missing(model, manifest)
        active = await self._writer.run(self._ledger.jobs.active, model)
        return {
            "retrainable": missing is None,
            "reason": missing,
            "active": active[0].id if active else None,
        }

    def _manifest(self, model: str) -> Any:
        """In a thread. NotFound where there is no such model."""
        registry = self._lifecycle.registry
        if registry.find(model) is None:
            raise NotFound(f"Request for unknown model: '{model[:128]}' is not found")
        served = self._lifecycle.of(model)
        return registry.manifest(model, None if served is None else served.champion)

    async def _before(self, model: str, trigger: Trigger) -> Job | None:
        """What an equal trigger has come to. InputError where its key was used for another."""
        if trigger.key:
            known = await self._keyed(model, trigger)
            if known is not None:
                check_same(known, trigger)
            return known
        newest = await self._writer.run(self._ledger.jobs.newest, model, None, None, 1)
        again = newest and newest[0].state == "suppressed" and not newest[0].trigger.key
        return newest[0] if again and newest[0].trigger.digest == trigger.digest else None

    async def _keyed(self, model: str, trigger: Trigger) -> Job | None:
        return await self._writer.run(self._ledger.jobs.keyed, model, trigger.key)

    async def _queue(self, model: str, trigger: Trigger, plan: Plan, before: Job | None) -> Job:
        told: dict[str, Any] = {"conditions": plan.decision.conditions}
        reason = trigger.reason or trigger.kind
        self._journal.metrics.labels_wanted.labels(model).set(0)
        if before is None:
            return await self._journal.begin(model, trigger, "queued", reason=reason, **told)
        return await self._journal.move(before, "queued", reason, trigger=trigger, **told)

    async def _suppress(self, model: str, trigger: Trigger, plan: Plan, before: Job | None) -> Job:
        """Kept once, however often it comes; again only where other conditions are the reason."""
        told: dict[str, Any] = {"conditions": plan.decision.conditions, "reason": plan.reason}
        if before is None:
            return await self._journal.begin(model, trigger, "suppressed", **told)
        if broken(before) == broken_of(plan):
            return before
        return await self._journal.note(before, "note", plan.reason, **told)

    async def _ask_for_labels(self, job: Job, plan: Plan, before: Job | None) -> None:
        """Drift, and nothing to learn from it: named once, which rows are worth a label."""
        missing = {
            one.name: one.limit - one.value for one in plan.decision.conditions if not one.holds
        }
        self._journal.metrics.labels_wanted.labels(job.model).set(
            max((missing[name] for name in LABELS if name in missing), default=0)
        )
        if before is None:
            ids = tuple(await self._known.wanted(job.model, WANTED))
            await self._journal.note(job, "request_labels", plan.reason, wanted=ids)


def rejected(begun: Sequence[Job]) -> int:
    """Challengers in a row, up to now, that were rejected or taken back; jobs that brought none do not count."""
    found = 0
    for one in begun:
        if one.state in WON:
            break
        found += one.state in REJECTED
    return found


def broken(job: Job) -> set[str]:
    """The conditions that did not hold when it was suppressed."""
    return {one.name for one in job.conditions if not one.holds}


def broken_of(plan: Plan) -> set[str]:
    """Those that do not hold now."""
    return {one.name for one in plan.decision.conditions if not one.holds}
