"""Those who send: rows at a steady rate, and what is right some time afterwards. Every request is counted. It must not know the story."""

import asyncio
import contextlib
import random
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import httpx
import msgspec

from loadtests.demo.scenes import SEED, Item
from loadtests.demo.service import Service, told

USUAL_RATE, BUSY_RATE = 9.0, 40.0
"""Requests a second: while rows are met that can be learnt from, all of which are kept, and while versions change."""
LABEL_DELAY_S = 1.0


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """One good answer: seconds since the beginning, which act, who answered, and whether it was right."""

    at: float
    act: str
    version: int
    right: bool


class Due(NamedTuple):
    """A row to be sent, and whether what it is will be told afterwards."""

    item: Item
    label: bool


class Audience:
    """Sends what it was last told to, over and over, until it is told otherwise. `failed` counts what was not answered well, by what was."""

    def __init__(self, service: Service, begun: float) -> None:
        self.answers: list[Answer] = []
        self.failed: Counter[str] = Counter()
        self.sent = 0
        self._service = service
        self._begun = begun
        self._act = ""
        self._rate = USUAL_RATE
        self._random = random.Random(SEED)
        self._due: Iterator[Due] = iter(())
        self._once = asyncio.Event()
        self._told = asyncio.Event()
        self._told.set()
        self._labels: deque[tuple[float, dict[str, object]]] = deque()
        self._under_way: set[asyncio.Task[None]] = set()

    def play(
        self, act: str, items: Sequence[Item], *, labelled: float, rate: float = USUAL_RATE
    ) -> None:
        """Send `items` once with labels for a share of them, then over and over without."""
        self._act, self._rate, self._once = act, rate, asyncio.Event()
        self._due = self._rows(items, labelled, self._once)

    async def once(self) -> None:
        """Returns when all of them have been sent once, answered and labelled."""
        await self._once.wait()
        await asyncio.gather(*self._under_way)
        await self._told.wait()

    async def run(self) -> None:
        """Send until this is cancelled."""
        telling = asyncio.create_task(self._tell())
        try:
            while True:
                due = next(self._due, None)
                if due is not None:
                    task = asyncio.create_task(self._ask(due, self._act))
                    self._under_way.add(task)
                    task.add_done_callback(self._under_way.discard)
                await asyncio.sleep(1 / self._rate)
        finally:
            await asyncio.gather(*self._under_way)
            telling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await telling

    def _rows(self, items: Sequence[Item], labelled: float, once: asyncio.Event) -> Iterator[Due]:
        """`labelled` of the first round evenly spread, then none."""
        for index, item in enumerate(items):
            yield Due(item, int((index + 1) * labelled) > int(index * labelled))
        once.set()
        while True:
            for item in self._random.sample(items, len(items)):
                yield Due(item, label=False)

    async def _ask(self, due: Due, act: str) -> None:
        """One request; how it ends is counted."""
        self.sent += 1
        headers, body = due.item.people
        path = f"/v1/models/{self._service.model}/predict"
        try:
            answer = await self._service.client.post(path, content=body, headers=headers)
        except httpx.HTTPError as error:
            self.failed[type(error).__name__] += 1
            return
        if answer.status_code != 200:
            self.failed[str(answer.status_code)] += 1
            return
        said = answer.json()
        right = said["predictions"][0]["label"] == due.item.label
        now = time.monotonic()
        self.answers.append(Answer(round(now - self._begun, 3), act, said["version"], right))
        if due.label:
            label = {"prediction_id": said["prediction_id"], "label": due.item.label}
            self._labels.append((now + LABEL_DELAY_S, label))
            self._told.clear()

    async def _tell(self) -> None:
        """Send labels back when they are due, several at once."""
        path = f"/v1/models/{self._service.model}/feedback"
        while True:
            await asyncio.sleep(LABEL_DELAY_S / 4)
            now, due = time.monotonic(), []
            while self._labels and self._labels[0][0] <= now:
                due.append(self._labels.popleft()[1])
            if due:
                told(await self._service.client.post(path, json={"labels": due}))
            if not self._labels:
                self._told.set()


async def accuracy(service: Service, version: int, items: Sequence[Item]) -> float:
    """The share of rows that one version answers rightly, asked by its number; the same rows for whoever is compared."""
    page = await service.page()
    names = page["labels"]
    path = f"/v2/models/{service.model}/versions/{version}/infer"
    right = 0
    for item in items:
        shares = told(await service.client.post(path, content=item.program))["outputs"][0]["data"]
        right += names[max(range(len(shares)), key=shares.__getitem__)] == item.label
    return right / len(items)
