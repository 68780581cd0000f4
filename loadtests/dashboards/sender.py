"""Sends rows to one model at a steady rate, from many clients, whether answers come or not; some are told what was right. It must not know the story."""

import asyncio
import itertools
import random
from collections.abc import Sequence
from typing import NamedTuple

import httpx

from loadtests.payloads import Payload

CLIENTS = 200
"""Who sends: a canary gets its share of them."""
MOST_WAITING = 400
"""Requests under way, beyond which one is not sent: a model that is stuck shall not take this program's memory."""
LABELS_AT_ONCE = 20


class Row(NamedTuple):
    """What is sent, and what it is, where that is known."""

    payload: Payload
    label: str | None = None


class Sender:
    """`answered` and `failed` count what came of it."""

    def __init__(
        self, client: httpx.AsyncClient, model: str, rows: Sequence[Row], rate: float
    ) -> None:
        self.answered = 0
        self.failed = 0
        self._client, self._model, self._rows, self._rate = client, model, rows, rate
        self._random = random.Random(0)
        self._labels: list[dict[str, str]] = []
        self._waiting: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Send until this is cancelled."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        try:
            for number in itertools.count():
                await asyncio.sleep(max(0.0, begun + number / self._rate - loop.time()))
                if len(self._waiting) < MOST_WAITING:
                    task = asyncio.create_task(self._send(self._random.choice(self._rows)))
                    self._waiting.add(task)
                    task.add_done_callback(self._waiting.discard)
        finally:
            for task in self._waiting:
                task.cancel()
            await asyncio.gather(*self._waiting, return_exceptions=True)

    async def _send(self, row: Row) -> None:
        who = {"Evergreen-Client": str(self._random.randrange(CLIENTS))}
        try:
            answer = await self._client.post(
                f"/v1/models/{self._model}/predict",
                content=row.payload.body,
                headers=row.payload.headers | who,
            )
        except httpx.TransportError:
            self.failed += 1
            return
        if answer.status_code != 200:
            self.failed += 1
            return
        self.answered += 1
        if row.label is not None:
            await self._tell(answer.json()["prediction_id"], row.label)

    async def _tell(self, prediction: str, label: str) -> None:
        """What a row was, several at a time."""
        self._labels.append({"prediction_id": prediction, "label": label})
        if len(self._labels) >= LABELS_AT_ONCE:
            told, self._labels = self._labels, []
            path = f"/v1/models/{self._model}/feedback"
            await self._client.post(path, json={"labels": told})
