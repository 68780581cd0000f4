"""The acts of the demonstration, one after another. It must not know the command line, or how anything is drawn.

usual traffic -> unusual traffic -> drift, labels, harm -> a retraining by itself -> gate, shadow, promotion
-> both versions judged on rows that nobody had sent -> a bad version by force -> labels -> taken back
"""

import asyncio
import datetime
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from loadtests.demo import bad
from loadtests.demo.audience import BUSY_RATE, Audience, accuracy
from loadtests.demo.found import Found, Judged, Look, Moment
from loadtests.demo.scenes import Scene
from loadtests.demo.service import Failed, Service, running
from models.registry import Registry
from service.retraining.jobs import ENDED

LOOK_S = 0.5
FIRED_S, TRAINED_S, TAKEN_BACK_S = 60.0, 600.0, 60.0
AFTERWARDS_S = 8.0
"""For so long traffic goes on after the last change, so that a picture shows it."""

SETTINGS = """\
drift_window = 100                # rows: small, so that the demonstration is short
observe_rows_per_s = 1000         # 100: observe every row,
monitor_cpu_share = 1             # 0.01: however slow the machine is

[models.{model}.retraining]
automatic = true                  # drift with harm starts a training by itself
min_labels = 200                  # 1,000 and 50 without this and the next line
min_per_class = 10
cooldown_h = 0                    # 24
trial = "shadow"                  # a challenger that passed the gate gets copies of requests first
trial_percent = 100               # 20
trial_requests = 100              # 200
trial_s = 5                       # 600
watch_h = 0.003                   # 24: how long labels may still take the new version back

[models.{model}.retraining.gate]
margin = 0.05                     # 0.02: what fifty labels cannot show to be kept
"""

Say = Callable[[Moment], None]
Job = dict[str, Any]
T = TypeVar("T")


async def show(scene: Scene, repository: Path, folder: Path, say: Say) -> Found:
    """The whole story, with a service of its own in `folder`. Failed says what did not come about."""
    settings = SETTINGS.format(model=scene.model)
    async with running(scene.model, repository, folder, settings) as service:
        story = Story(scene, service, say)
        playing = story.play(Registry([repository], service.registry), settings)
        return await beside(playing, story.audience.run(), story.watch())


async def beside(first: Coroutine[Any, Any, T], *others: Coroutine[Any, Any, None]) -> T:
    """What `first` returns; `others` run until then. What is raised by any is raised here."""
    main = asyncio.create_task(first)
    rest = [asyncio.create_task(one) for one in others]
    await asyncio.wait([main, *rest], return_when=asyncio.FIRST_COMPLETED)
    ended = [task for task in (main, *rest) if task.done()]
    for task in (main, *rest):
        task.cancel()
    await asyncio.gather(main, *rest, return_exceptions=True)
    for task in ended:
        task.result()
    result: T = main.result()
    return result


class Story:
    """One showing of a scene."""

    def __init__(self, scene: Scene, service: Service, say: Say) -> None:
        self.scene = scene
        self.service = service
        self._begun = time.monotonic()
        self.audience = Audience(service, self._begun)
        self.moments: list[Moment] = []
        self.looks: list[Look] = []
        self._say = say
        self._seen: dict[str, Any] = {}

    async def play(self, registry: Registry, settings: str) -> Found:
        """All acts, and what they came to."""
        old = await self.service.champion()
        await self.change()
        job = await self.learn(old)
        new = await self.service.champion()
        champion, challenger = await self.judge(old), await self.judge(new)
        bad_version, taken = await self.harm(registry, new)
        scene, audience = self.scene, self.audience
        return Found(
            model=scene.model,
            usual=scene.usual,
            unusual=scene.unusual,
            date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            seconds=self.now(),
            settings=settings,
            requests=audience.sent,
            failed=dict(audience.failed),
            champion=champion,
            challenger=challenger,
            bad_version=bad_version,
            rolled_back_after_s=round(taken, 3),
            gate=job["gate"],
            moments=self.moments,
            looks=self.looks,
            answers=audience.answers,
        )

    async def change(self) -> None:
        """The usual traffic without labels, since its rows are those that the gate asks for what was forgotten; then the unusual with labels."""
        scene = self.scene
        self.tell(f"traffic of {scene.usual}")
        self.audience.play("usual", scene.known, labelled=0)
        await self.audience.once()
        self.tell(f"traffic of {scene.unusual}")
        self.audience.play("unusual", scene.changed, labelled=1)
        await self.until(
            self.job, FIRED_S + len(scene.changed) / 5, "no retraining began by itself"
        )

    async def learn(self, old: int) -> Job:
        """The retraining that began, to its end; meanwhile more is asked. Failed where another version does not answer then."""
        self.audience.play("unusual", self.scene.changed, labelled=0, rate=BUSY_RATE)
        job: Job = await self.until(self._ended, TRAINED_S, "the retraining did not end")
        if job["state"] != "succeeded":
            raise Failed(f"the retraining is {job['state']}: {job['reason']}")
        if await self.service.champion() == old:
            raise Failed("the retraining succeeded, and the same version answers")
        return job

    async def judge(self, version: int) -> Judged:
        """How good a version is on rows that were not sent before, asked by its number."""
        usual, unusual = self.scene.known_later, self.scene.changed_later
        return Judged(
            version,
            await accuracy(self.service, version, usual),
            len(usual),
            await accuracy(self.service, version, unusual),
            len(unusual),
        )

    async def harm(self, registry: Registry, good: int) -> tuple[int, float]:
        """A bad version answers by force until labels have it taken back: its number, and how long that took in seconds."""
        rows = self.scene.changed_later + self.scene.known_later
        self.audience.play("afterwards", rows, labelled=1)
        await asyncio.sleep(AFTERWARDS_S)
        number = await asyncio.to_thread(bad.publish, registry, self.scene.model, good)
        self.tell(f"version {number}, with its labels in another order, is promoted by force")
        path = f"/v1/models/{self.scene.model}/promotions"
        await self.service.post(path, {"version": number, "force": True, "reason": "a mistake"})
        begun = time.monotonic()

        async def back() -> bool:
            return await self.service.champion() == good

        await self.until(back, TAKEN_BACK_S, f"version {number} was not taken back")
        taken = time.monotonic() - begun
        await asyncio.sleep(AFTERWARDS_S)
        await self.look()
        return number, taken

    async def watch(self) -> None:
        """Tell whatever changes, until this is cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """What the service says now; what has changed is told."""
        drift = await self.service.get(f"/v1/models/{self.scene.model}/drift")
        champion = drift["version"]
        kind, why = drift["conclusion"]["kind"], drift["conclusion"]["why"]
        harm = (drift.get("harm") or {}).get("verdict", "unknown")
        self.looks.append(Look(self.now(), drift["verdict"], kind, harm, champion))
        if self._changed("version", champion):
            self.tell(f"version {champion} answers")
        if self._changed("traffic", (champion, drift["verdict"], kind)):
            moved = ", ".join(one["name"] for one in drift["signals"][:3])
            told = f" ({moved})" if drift["verdict"] == "drift" else ""
            self.tell(f"version {champion}: {drift['verdict']}{told}; {kind}: {why}")
        if (job := await self.job()) and self._changed("job", (job["id"], job["state"])):
            self.tell(
                f"retraining {job['state']}" + (f": {job['reason']}" if job["reason"] else "")
            )

    async def job(self) -> Job | None:
        """The newest retraining that the policy let begin."""
        found = await self.service.get("/v1/retrainings", model=self.scene.model)
        return next((one for one in found if one["state"] != "suppressed"), None)

    async def _ended(self) -> Job | None:
        job = await self.job()
        return job if job and job["state"] in ENDED else None

    async def until(
        self, ask: Callable[[], Awaitable[T | None]], seconds: float, otherwise: str
    ) -> T:
        """The first answer that is something. Failed with what the service says of its traffic where none comes."""
        deadline = time.monotonic() + seconds
        while not (found := await ask()):
            if time.monotonic() > deadline:
                last = self.moments[-1].text if self.moments else ""
                raise Failed(f"{otherwise} within {seconds:.0f} s; the last that was told: {last}")
            await asyncio.sleep(LOOK_S)
        return found

    def now(self) -> float:
        """Seconds since the beginning."""
        return round(time.monotonic() - self._begun, 3)

    def tell(self, text: str) -> None:
        """Something happened."""
        moment = Moment(self.now(), text)
        self.moments.append(moment)
        self._say(moment)

    def _changed(self, what: str, value: Any) -> bool:
        before, self._seen[what] = self._seen.get(what), value
        return bool(before != value)
