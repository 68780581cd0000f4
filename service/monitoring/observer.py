"""The front end's end: which requests are observed, what they come to, and on to control. It must not know HTTP, engines or what a drift is.

    choose (before the engine is asked) -> put (after the answer) -> ring -> drain thread: Watch.look -> ring -> ship -> control

A request pays for a decision, and one that is observed for an append. Everything else is the drain thread's, which measures itself; whatever goes
wrong there costs observations, which are counted, and nothing else.
"""

import asyncio
import logging
import os
import random
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import msgspec
import numpy as np

from service.monitoring.drain import Drain, Taken
from service.monitoring.observed import Observed, Rows
from service.monitoring.ring import Ring
from service.monitoring.sampling import Shares
from service.monitoring.tallies import ObserverTally, Shipped
from service.monitoring.watch import Arrays, Watch
from service.settings import Settings, plain

log = logging.getLogger(__name__)

ROWS, BYTES = 8192, 32 * 1024 * 1024
"""What may wait for the drain thread."""
AT_ONCE = 64
"""Rows that are looked at in one go: longer, and the interpreter would be kept from requests."""
EVERY_SECONDS = 0.25
SHIP_SECONDS = 0.5
SHIPPED_ROWS = 4096
"""Rows in one message."""
KEPT_PER_S = 10.0
"""Rows of a model a second whose inputs are kept: compressing one costs as much as looking at several."""
PATIENCE = 5.0
"""Seconds that control may take to accept a message."""
DECISION_SECONDS, APPEND_SECONDS = 0.1e-6, 4e-6
"""What a decision and an append cost the event loop, about; they are counted with what the drain thread measures."""

Ask = Callable[..., Awaitable[Any]]
Counted = Callable[[], Mapping[str, tuple[int, Mapping[str, int]]]]
"""By model, since the start: requests, and those that were refused for what was in them, by reason."""


class Chosen(NamedTuple):
    """A request that is observed, once it is answered: with which probability, over which API, and the id of its prediction."""

    watch: Watch
    share: float
    api: str
    prediction: str


class Observer:
    """One front end's. `lot` decides who is observed: a number from 0 to below 1."""

    def __init__(self, settings: Settings, lot: Callable[[], float] = random.random) -> None:
        self.tally = ObserverTally()
        self._on = settings.monitor
        self._silent = {name for name, one in settings.models.items() if not one.monitor}
        self._lot = lot
        self._asked = self._told = 0
        self._path = 0.0
        """CPU seconds that decisions and appends took so far."""
        self._taken: Ring[Taken] = Ring(ROWS, BYTES)
        self._seen: Ring[Rows] = Ring(ROWS, BYTES)
        each = settings.front_ends
        self._shares = Shares(
            settings.monitor_cpu_share, settings.observe_rows_per_s / each, time.monotonic()
        )
        self._drain = Drain(settings.payload_share, KEPT_PER_S / each, time.monotonic())
        self._shipped = Shipped()
        self._shipping, self._looking = asyncio.Lock(), threading.Lock()
        self._ask: Ask | None = None
        self._counted: Counted = dict
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="observer", daemon=True)

    @property
    def share(self) -> float:
        """The smallest share of any model's requests that is observed."""
        return self._shares.smallest if self._on else 0.0

    def choose(self, watch: Watch | None, rows: int, api: str, prediction: str) -> Chosen | None:
        """Whether the request that is about to be submitted is observed, decided before anything is known of it but how many rows it has."""
        self._asked += 1
        if watch is None or not self._on:
            return None
        share = self._shares.of(watch.model)
        if share < 1.0 and self._lot() >= share:
            return None
        if self._silent and plain(watch.model) in self._silent:
            return None
        if self._taken.full:
            self.tally.drop(watch.model, rows)
            return None
        return Chosen(watch, share, api, prediction)

    def put(self, chosen: Chosen, places: Sequence[int], inputs: Arrays, outputs: Arrays) -> None:
        """Observe rows of a request that was chosen: those at `places` in it, as inputs and outputs [rows, ...], which nobody changes any more."""
        model = chosen.watch.model
        try:
            size = sum(map(held, inputs.values())) + sum(map(held, outputs.values()))
            taken = self._taken.put(
                Taken(*chosen, places, time.time(), inputs, outputs), len(places), size
            )
        except Exception:  # noqa: BLE001 - the answer is there, and goes out whatever becomes of its observation
            taken = False
        if taken:
            self.tally.sample(model, len(places))
            self._told += 1
        else:
            self.tally.drop(model, len(places))

    @asynccontextmanager
    async def telling(self, ask: Ask, counted: Counted) -> AsyncIterator[None]:
        """Tell control what is seen, about twice a second while the block runs, and the rest when it ends."""
        self._ask, self._counted = ask, counted
        if self._on:
            self._thread.start()
        shipping = asyncio.create_task(self._ship_on())
        try:
            yield
        finally:
            self._ending.set()
            shipping.cancel()
            if self._on:
                await asyncio.to_thread(self._thread.join, PATIENCE)
            await self.ship()

    async def ship(self, _: Any = None) -> None:
        """Look at everything that waits, and tell control; return when it knows."""
        await asyncio.to_thread(self._look)
        async with self._shipping:
            await self._ship()

    async def _ship_on(self) -> None:
        while True:
            await asyncio.sleep(SHIP_SECONDS)
            async with self._shipping:
                await self._ship()

    async def _ship(self) -> None:
        if self._ask is None:
            return
        inputs = self._shipped.since(self._counted(), self.tally)
        rows = self._seen.take(SHIPPED_ROWS)
        while rows or inputs:
            message = Observed(str(os.getpid()), self.share, rows, inputs)
            try:
                await self._ask("observed", msgspec.msgpack.encode(message), PATIENCE)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next rows are tried again
                log.info("control was not told of what was observed: %s", error)
                for one in rows:
                    self.tally.drop(one.model, len(one.ids))
            rows, inputs = self._seen.take(SHIPPED_ROWS), []

    def _work(self) -> None:
        """The drain thread."""
        ended = False
        while not ended:
            ended = self._ending.wait(EVERY_SECONDS)
            self._look()

    def _look(self) -> None:
        """Everything that waits, in whichever thread; a failure is logged, and what it was about is lost."""
        if not self._on:
            return
        with self._looking:
            try:
                self._drain_all()
            except Exception:
                log.exception("observing failed")

    def _drain_all(self) -> None:
        """A little at a time; then what it took decides on the share."""
        began, rows = time.thread_time(), Counter[str]()
        while taken := self._taken.take(AT_ONCE):
            for one in taken:
                rows[one.watch.model] += len(one.places)
            for seen in self._drain.look(taken, self.tally):
                if not self._seen.put(seen, len(seen.ids), weight(seen)):
                    self.tally.lose(seen.model, len(seen.ids))
            time.sleep(0)  # whoever waits for the interpreter comes first
        path = self._asked * DECISION_SECONDS + self._told * APPEND_SECONDS
        spent = time.thread_time() - began + path - self._path
        self._path = path
        self._shares.spend(time.monotonic(), spent, rows)


def weight(rows: Rows) -> int:
    """About how many bytes `rows` hold."""
    return len(rows.bins) + 200 * len(rows.ids) + sum(len(data) for _, data, _ in rows.payloads)


def held(array: np.ndarray) -> int:
    """The bytes that stay in memory for as long as `array` does: a view keeps all of the body that it looks at."""
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    return array.nbytes if owner.base is None else max(array.nbytes, memoryview(owner.base).nbytes)
