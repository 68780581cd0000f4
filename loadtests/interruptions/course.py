"""A run: jobs one after the other, interruptions one after the other, and everything checked after each.

    the next aim (a step of a job) -> a job that comes there -> the fault -> the service answers again -> who answers is who should
    -> invariants at any time; at a job's end -> invariants of its end

It must not know what a fault is, or what must hold.
"""

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from loadtests.interruptions import invariants
from loadtests.interruptions.asking import Asker
from loadtests.interruptions.faults import AIMS, FAULTS, Hit
from loadtests.interruptions.found import Ended, Interruption
from loadtests.interruptions.world import MODEL, Failed, World
from models.errors import EvergreenError
from service.ledger.ledger import Ledger
from service.retraining.jobs import ENDED, Job

JITTER_S = {"beginning": 0.4, "running": 6.0, "evaluating": 1.0, "promoting": 1.5, "watching": 3.0}
"""The aims, and how long after a job has come there it is hit, at most."""
BLOCK = 3
ORDER = ("queued", "submitted", "running", "evaluating", "promoting", "watching")
ROWS = 40
"""Labelled rows for every job."""
MORE = 4
STUCK_S = 240.0
"""A job that nobody interrupts and that has not ended by then is stuck."""
FOLLOWED_S = 60.0
CONNECTIONS = 6
LOOK_S, PATIENCE_S = 0.03, 120.0


class Under(NamedTuple):
    """The job that is under way, and since when."""

    id: str
    begun: float
    hits: list[int]


class Course:
    """Interruptions of one world, in an order that `seed` decides."""

    def __init__(
        self, world: World, asker: Asker, seed: int, say: Callable[[str], None] = lambda text: None
    ) -> None:
        self.world, self.asker, self._seed, self._say = world, asker, seed, say
        self.ended: list[Ended] = []
        self.others: list[str] = []
        self._ledger = Ledger.open(world.ledger)
        self._under: Under | None = None
        self._quiet, self._over = threading.Lock(), threading.Event()
        self._deck: list[str] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Every version is looked at as soon as it is visible, as long as the block lasts."""
        thread = threading.Thread(target=self._watch, name="watcher")
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()
            self._ledger.close()

    def run(self, first: int, count: int) -> Iterator[Interruption]:
        """Interruptions `first` to `first + count - 1`; then the last job is let go to its end."""
        for number in range(first, first + count):
            yield self._interrupt(number)
        if self._under is not None:
            self._finish()

    def _interrupt(self, number: int) -> Interruption:
        lot = random.Random(f"{self._seed}/{number}")
        fault, aim = self._planned(number)
        self._say(f"{number}: {fault}, at {aim}")
        self._come_to(aim)
        time.sleep(lot.uniform(0, JITTER_S[aim]))
        assert self._under is not None
        state, version = self._now(self._under.id)
        stage = self.world.stage(self._under.id) if state == "running" else ""
        self._under.hits.append(number)
        allowed = {invariants.champion(self.world), version}
        self.asker.versions.clear()
        done = FAULTS[fault](Hit(self.world, version, lot, self._quiet))
        begun = time.monotonic()
        self.world.wait_ready()
        back = time.monotonic() - begun
        wrong = [] if self._follows() else [self._torn()]
        followed = time.monotonic() - begun
        allowed |= {invariants.champion(self.world), self._now(self._under.id)[1]}
        if strange := self.asker.versions - allowed:
            wrong.append(
                f"versions {sorted(strange)} answered meanwhile, which nobody had promoted"
            )
        wrong += invariants.at_any_time(self.world, self._ledger, list(self.asker.kept))
        job = self._under.id
        return Interruption(
            number, fault, done, job, state, stage, round(back, 2), round(followed, 2), tuple(wrong)
        )

    def _planned(self, number: int) -> tuple[str, str]:
        """Which fault, at which step. Those of a block come in the order of their steps, so that one job may meet them all."""
        block = number // BLOCK
        drawn = [self._drawn(block * BLOCK + place) for place in range(BLOCK)]
        return sorted(drawn, key=lambda one: list(JITTER_S).index(one[1]))[number % BLOCK]

    def _drawn(self, number: int) -> tuple[str, str]:
        """Faults in an order by lot, then again: each comes as often as the others."""
        names = list(FAULTS)
        random.Random(f"{self._seed} deck {number // len(names)}").shuffle(names)
        fault = names[number % len(names)]
        aims = AIMS.get(fault, tuple(JITTER_S))
        return fault, random.Random(f"{self._seed} aim {number}").choice(aims)

    def _come_to(self, aim: str) -> None:
        """Wait until a job is there; one that is beyond ends first, and another is begun."""
        while True:
            if self._under is None:
                self._begin()
                if aim == "beginning":
                    return
            assert self._under is not None
            state, _ = self._now(self._under.id)
            if state == aim:
                return
            if state in ENDED or aim == "beginning" or ORDER.index(state) > ORDER.index(aim):
                self._finish()
            elif time.monotonic() - self._under.begun > STUCK_S + 60 * len(self._under.hits):
                raise Failed(f"job {self._under.id} stays {state}")
            time.sleep(LOOK_S)

    def _begin(self) -> None:
        """Labels, and a job with a key: asked again, whatever happens, it is the same one."""
        self._until(lambda: self.asker.teach(ROWS) > 0, "labels to be taken")
        key, found = uuid.uuid4().hex, ""

        def asked() -> bool:
            nonlocal found
            try:
                path = f"/v1/models/{MODEL}/retrainings"
                found = self.world.post(path, {"reason": "a test"}, **{"Idempotency-Key": key})[
                    "id"
                ]
            except Failed as error:
                self._say(str(error))
                self.asker.teach(MORE)  # of the rows of a burst, not all are kept
                return False
            return True

        self._until(asked, "a job")
        self._under = Under(found, time.monotonic(), [])

    def _finish(self) -> None:
        """Wait for the job's end, and check that."""
        assert self._under is not None
        under, self._under = self._under, None
        begun = time.monotonic()
        job = self._job(under.id)
        while not job.ended and time.monotonic() - begun < STUCK_S:
            time.sleep(LOOK_S)
            job = self._job(under.id)
        # What a run leaves is taken away a moment later.
        deadline = time.monotonic() + PATIENCE_S
        while (wrong := tuple(invariants.of_ended(self.world, job))) and job.ended:
            if time.monotonic() > deadline:
                break
            time.sleep(1)
        seconds = round(time.monotonic() - under.begun, 1)
        reason = job.reason.replace(f"{self.world.folder}/", "")
        self.ended.append(
            Ended(job.id, job.state, reason, job.version, seconds, tuple(under.hits), wrong)
        )
        if not job.ended:
            raise Failed(f"job {job.id} stays {job.state}: {job.reason}")

    def _now(self, job: str) -> tuple[str, int | None]:
        one = self._job(job)
        return one.state, one.version

    def _job(self, job: str) -> Job:
        """By the ledger."""
        while True:
            try:
                found = self._ledger.jobs.get(job)
            except EvergreenError:
                time.sleep(LOOK_S)
                continue
            if found is None:
                raise Failed(f"job {job} was acknowledged and is not there")
            return found

    def _follows(self) -> bool:
        """Whether everybody is answered by the registry's champion, soon."""
        deadline = time.monotonic() + FOLLOWED_S
        while time.monotonic() < deadline:
            champion = invariants.champion(self.world)
            told = {self.asker.version() for _ in range(CONNECTIONS)}
            if told == {champion} == {invariants.champion(self.world)}:
                return True
            time.sleep(0.2)
        return False

    def _torn(self) -> str:
        told = sorted({str(self.asker.version()) for _ in range(CONNECTIONS)})
        return (
            f"versions {', '.join(told)} answer after {FOLLOWED_S:g} s, the registry's champion is "
            f"{invariants.champion(self.world)}"
        )

    def _until(self, done: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not done():
            if time.monotonic() > deadline:
                raise Failed(f"waited {PATIENCE_S:g} s for {what}")
            time.sleep(0.5)

    def _watch(self) -> None:
        """A thread: half a bundle is visible for a moment or never."""
        seen: set[int] = set()
        while not self._over.wait(0.02):
            with self._quiet:
                try:
                    registry = invariants.registry_of(self.world)
                    new = set(registry.versions(MODEL)) - seen
                    for version in sorted(new):
                        self.others += invariants.whole(registry, version)
                    seen |= new
                except EvergreenError as error:
                    self.others.append(f"the registry could not be read: {error}")
