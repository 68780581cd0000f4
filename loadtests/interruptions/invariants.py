"""What must hold after every interruption, read from the registry's log, the ledger, the files and over HTTP. Each that does not is a sentence."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from loadtests.interruptions.asking import Told
from loadtests.interruptions.world import MODEL, RUN, World
from models import bundle, job
from models.registry import Registry
from models.registry.aliases import CHAMPION, Change
from service.ledger.ledger import Ledger
from service.retraining.jobs import FOLLOWS, Job
from service.retraining.promotion import WHO
from service.retraining.traffic import HOLDOUT, PARENT

MADE_CHAMPIONS = ("promoting", "watching", "succeeded", "rolled_back")
"""States of a job whose version was promoted; `promoting` until that is written down."""
MOST = 10_000
PRIVATE = (job.TRAFFIC, HOLDOUT, job.REFERENCE, job.HELD_OUT, job.BUNDLE, PARENT)
"""What an ended job must not keep a second time."""


def registry_of(world: World) -> Registry:
    """The registry, read anew."""
    return Registry([world.models], world.registry)


def champion(world: World) -> int:
    """Who answers by the registry's word."""
    return registry_of(world).aliases(MODEL)[CHAMPION]


def at_any_time(world: World, ledger: Ledger, kept: Sequence[Told]) -> Iterator[str]:
    """All that holds whatever is under way. The registry is read first: what a job has done there, the ledger knew before."""
    registry = registry_of(world)
    history = registry.history(MODEL, MOST)
    jobs = ledger.jobs.newest(limit=MOST)
    yield from of_registry(registry, history, jobs)
    yield from of_ledger(ledger, jobs, kept)


def of_registry(
    registry: Registry, history: Sequence[Change], jobs: Sequence[Job]
) -> Iterator[str]:
    """One log without a gap, one champion after the other, whole versions, and a job behind each."""
    state = registry.state(MODEL)
    if state.problem:
        yield f"the registry's log cannot be read: {state.problem}"
        return
    if [one.number for one in history] != list(range(1, len(history) + 1)):
        yield f"the registry's log has gaps: {[one.number for one in history]}"
    if state.aliases.get(CHAMPION) not in state.versions:
        yield f"the champion is version {state.aliases.get(CHAMPION)}, which is not there"
    yield from chained([one for one in history if one.alias == CHAMPION])
    yield from vouched_for(history, jobs)
    for version in state.versions:
        yield from whole(registry, version)


def chained(changes: Sequence[Change]) -> Iterator[str]:
    """Each champion takes the place of the one before."""
    for before, after in pairwise(changes):
        if after.before != before.after:
            yield f"change {after.number} replaces version {after.before}, version {before.after} was champion"


def vouched_for(history: Sequence[Change], jobs: Sequence[Job]) -> Iterator[str]:
    """A job behind each promotion, and one promotion of each job."""
    known = {one.id: one for one in jobs}
    seen = set()
    for change in history:
        if change.kind != "promote":
            continue
        one = known.get(change.who.removeprefix(WHO))
        if one is None or one.version != change.after or one.state not in MADE_CHAMPIONS:
            told = "no job" if one is None else f"a job that is {one.state}"
            yield f"version {change.after} was promoted by {change.who}: {told}"
        elif one.id in seen:
            yield f"job {one.id} was promoted twice"
        seen.add(change.who.removeprefix(WHO))


def whole(registry: Registry, version: int) -> Iterator[str]:
    """Every file that the manifest names, as it was hashed."""
    try:
        _, directory = registry.resolve(MODEL, version)
        bundle.verify_files(directory, bundle.read(directory))
    except Exception as error:  # noqa: BLE001 - whatever it is, half a bundle is visible
        yield f"version {version} is visible and not whole: {error}"


def of_ledger(ledger: Ledger, jobs: Sequence[Job], kept: Sequence[Told]) -> Iterator[str]:
    """At most one active job, events that lead to what each is, and every label that was acknowledged."""
    if len(active := [one.id for one in jobs if one.active]) > 1:
        yield f"{len(active)} jobs are active: {', '.join(active)}"
    for one in jobs:
        yield from told(ledger, one)
    found, last = set(), 0
    for version in {one.version for one in jobs if one.version} | {1}:
        last = 0
        while page := ledger.labels_after(MODEL, version, last, 1000):
            last = page[-1].position
            found |= {(one.prediction.id, one.prediction.row, one.label.label) for one in page}
    if lost := [one for one in kept if tuple(one) not in found]:
        yield f"{len(lost)} of {len(kept)} acknowledged labels are lost, the first of {lost[0].prediction}"


def told(ledger: Ledger, one: Job) -> Iterator[str]:
    """A job's events."""
    events = [event for event in ledger.jobs.events(one.id, 0, MOST) if event.number <= one.number]
    if [event.number for event in events] != list(range(1, one.number + 1)):
        yield f"job {one.id} has events {[event.number for event in events]}, its last is {one.number}"
        return
    states = [event.state for event in events if event.kind == "state"]
    for before, after in pairwise(states):
        if after not in FOLLOWS[before]:
            yield f"job {one.id} went from {before} to {after}"
    last = states[-1] if states else "nothing"
    if last != one.state:
        yield f"job {one.id} is {one.state}, its events say {last}"


def of_ended(world: World, one: Job) -> Iterator[str]:
    """A lasting state with a reason, nothing that still runs, nothing kept twice, lineage for what was promoted."""
    if not one.ended:
        yield f"job {one.id} is {one.state}"
        return
    if not one.reason:
        yield f"job {one.id} is {one.state} without a reason"
    if runs := world.processes(RUN, one.id):
        yield f"job {one.id} is {one.state}, and {len(runs)} processes still run for it"
    if left := [name for name in PRIVATE if (world.directory(one.id) / name).exists()]:
        yield f"job {one.id} is {one.state} and keeps {', '.join(left)}"
    registry = registry_of(world)
    if one.state in MADE_CHAMPIONS and one.version not in registry.versions(MODEL):
        yield f"job {one.id} is {one.state}, and its version {one.version} is not there"
    elif one.version in registry.versions(MODEL):
        yield from lineage(registry, one)


def lineage(registry: Registry, one: Job) -> Iterator[str]:
    """What the bundle says of where it comes from is what the ledger says."""
    manifest = registry.manifest(MODEL, one.version)
    record = None if manifest is None else manifest.training
    if record is None or one.learnt is None:
        yield f"version {one.version} does not say how it was made"
        return
    said = (record.parent, record.trigger, record.reason, record.traffic and record.traffic.sha256)
    known = (one.parent, one.trigger.kind, one.trigger.reason, one.learnt.sha256)
    if said != known:
        yield f"version {one.version} says that it comes of {said}, the ledger {known}"
    if record.parent not in registry.versions(MODEL):
        yield f"version {one.version} comes of version {record.parent}, which is not there"
