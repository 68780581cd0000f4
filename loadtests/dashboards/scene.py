"""What happens, one after another. It must not know how it is drawn.

three models, one with a canary and a shadow -> one is slowed down by a crowd -> another meets rows that it does not know: drift, labels, harm,
a retraining by itself, a promotion, a bad version that is taken back
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from loadtests.dashboards.sender import Row, Sender
from loadtests.demo import scenes, story
from loadtests.demo.found import Moment
from loadtests.demo.service import Failed, Service, running
from loadtests.demo.story import Story, beside
from loadtests.payloads import to_json
from models import bundle
from models.datasets import reviews
from models.registry import Registry

REPOSITORY = Path(__file__).parents[2] / "models" / "repository"
PICTURES, SERIES, TEXTS = "fashion-cnn", "activity-lstm", "sentiment-transformer"
RATES = {PICTURES: 20.0, SERIES: 10.0, TEXTS: 10.0}
"""Requests a second: little beside what two cores take."""
CROWD, JOINED = 24, 5
"""Callers who slow a model down, and the sentences of each of their texts: about 130 tokens, of 256 that the model takes."""
BESIDE_RATE = 1.0
"""Requests a second of the other models beside the loop, which trains on the same cores."""
TRAFFIC = {"canary": {"version": 2, "percent": 20}, "shadow": {"version": 3, "percent": 20}}

Say = Callable[[str], None]


class Times(NamedTuple):
    """How long each act takes, in seconds."""

    usual: float = 75.0
    slow: float = 75.0
    freed: float = 45.0


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Service]:
    """The three models; of the pictures' there are three versions, of which the second is a canary and the third a shadow."""
    settings = story.SETTINGS.format(model=SERIES)
    async with running(",".join(RATES), REPOSITORY, folder, settings) as service:
        registry = Registry([REPOSITORY], service.registry)
        _, directory = registry.resolve(PICTURES)
        for _ in range(2):
            await asyncio.to_thread(registry.publish, directory, who="dashboards")
        answer = await service.client.put(f"/v1/models/{PICTURES}/traffic", json=TRAFFIC)
        if not answer.is_success:
            raise Failed(f"no canary: {answer.text[:300]}")
        yield service


@asynccontextmanager
async def sending(service: Service, rates: Mapping[str, float]) -> AsyncIterator[None]:
    """So many requests a second to each model, while the block runs."""
    senders = [Sender(service.client, model, rows(model), rate) for model, rate in rates.items()]
    tasks = [asyncio.create_task(sender.run()) for sender in senders]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def rows(model: str) -> list[Row]:
    """Held-out rows, such as the model knows: with what they are, but for the series, whose labels belong to the loop."""
    _, directory = Registry([REPOSITORY]).resolve(model)
    if model == PICTURES:
        return [Row(one.people, one.label) for one in scenes.darker_camera(directory, 1, 0).known]
    if model == SERIES:
        return [Row(one.people) for one in scenes.new_people(directory).known]
    names, (_, held_out) = bundle.read(directory).labels, reviews.rotten_tomatoes()
    return [
        Row(to_json({"text": text}), names[label])
        for text, label in zip(held_out.texts, held_out.labels, strict=True)
    ]


async def slowdown(service: Service, times: Times, say: Say) -> float:
    """All three as usual, then a crowd with long texts, then as before. Returns when the crowd left, in seconds since 1970."""
    async with sending(service, RATES):
        say("usual traffic of three models")
        await asyncio.sleep(times.usual)
        say(f"{CROWD} callers send long texts to {TEXTS}, each the next one when it has an answer")
        async with crowding(service):
            await asyncio.sleep(times.slow)
            left = time.time()
        say("they are gone")
        await asyncio.sleep(times.freed)
    return left


@asynccontextmanager
async def crowding(service: Service) -> AsyncIterator[None]:
    """More than one engine takes, while the block runs, however fast it is: somebody always waits."""
    texts = long_texts()
    tasks = [asyncio.create_task(caller(service, texts[at::CROWD])) for at in range(CROWD)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def caller(service: Service, texts: Sequence[str]) -> None:
    """One of the crowd."""
    for text in itertools.cycle(texts):
        payload = to_json({"text": text})
        path = f"/v1/models/{TEXTS}/predict"
        await service.client.post(path, content=payload.body, headers=payload.headers)


def long_texts() -> list[str]:
    """Held-out sentences joined: several times as long as one."""
    _, held_out = reviews.rotten_tomatoes()
    return [" ".join(one) for one in zip(*[iter(held_out.texts)] * JOINED, strict=False)]


async def loop(service: Service, say: Say) -> None:
    """The demonstration of the loop on the series, while the other models have their traffic. Failed says what did not come about."""
    begun = time.monotonic()

    def tell(moment: Moment) -> None:
        say(moment.text)

    one = Service(service.client, SERIES, service.folder)
    registry = Registry([REPOSITORY], service.registry)
    _, directory = registry.resolve(SERIES)
    shown = Story(scenes.new_people(directory), one, tell)
    async with sending(service, {PICTURES: BESIDE_RATE, TEXTS: BESIDE_RATE}):
        await beside(shown.play(registry, ""), shown.audience.run(), shown.watch())
    say(f"the loop took {time.monotonic() - begun:.0f} s")
