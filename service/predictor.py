"""The spine: what happens between a request's body and its answer, for people (/v1) and programs (/v2) alike.

    body -> decode (models.tasks) -> target (routing) -> engine (routing -> engine.client) -> encode (models.tasks) -> answer

It must not know HTTP: it takes and returns values, and raises the errors that `api.problems` turns into statuses.
"""

import asyncio
import os
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from models import tasks
from models.errors import InputError, TooLarge
from service import context
from service.engine.client import Answer
from service.monitoring.observer import Chosen, Observer
from service.outcomes import Counted
from service.routing import Router, Target
from service.settings import Settings
from service.shadow import Shadow
from service.tallies import FrontEndMetrics

LARGE_ITEM = 256 * 1024
"""Bytes of decoded items from which decoding moves off the event loop: 256 x 256 pixels take a millisecond."""
DECODERS = 2
"""Requests that are decoded at a time, off the event loop; each may hold some hundred megabytes while it is."""


class Terms(NamedTuple):
    """What a caller asks for beside an answer. Seconds of time.monotonic(): when the body was complete, and when the answer is due.

    `priority`: the level that a caller names, 0 for none.
    """

    received: float
    deadline: float
    priority: int = 0


class Outcome(NamedTuple):
    """What a task request comes to. Milliseconds; `queue` and `compute` are each the longest of its parts."""

    prediction_id: str
    target: Target
    predictions: list[tasks.Prediction]
    timings_ms: dict[str, float]


class Times(NamedTuple):
    """Where a request's time went, in seconds."""

    decode: float = 0.0
    queue: float = 0.0
    compute: float = 0.0


class TensorOutcome(NamedTuple):
    """What a tensor request comes to: outputs [rows, ...] in the order asked for."""

    prediction_id: str
    outputs: dict[str, np.ndarray]
    times: Times = Times()


class Predictor:
    """Predictions over the versions that `router` reaches."""

    def __init__(
        self, settings: Settings, router: Router, metrics: FrontEndMetrics, observer: Observer
    ) -> None:
        self._settings = settings
        self._observer = observer
        self._router = router
        self._metrics = metrics
        self._shadow = Shadow(router, metrics)
        self._decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")

    def terms(self, received: float, timeout: float | None, priority: int = 0) -> Terms:
        """The terms of a request that was complete at `received`. `timeout` (s) can only shorten what the service allows."""
        most = self._settings.request_timeout_s
        allowed = most if timeout is None else min(timeout, most)
        return Terms(received, received + allowed, priority)

    async def predict(
        self, target: Target, items: Sequence[object], terms: Terms, *, top: int = 3
    ) -> Outcome:
        """Classify `items` (images, series or texts, as the model's task takes them).

        Raises InputError naming the item, Unavailable, DeadlineExceeded, EngineError.
        """
        opened = self._router.opened(target)
        self._check_rows(len(items))
        if isinstance(opened.manifest.task, tasks.ImageTask):
            self._count_files(target.model, items)
        rows = await self._decode(opened.processor, items)
        decoded = time.monotonic()
        prediction = new_id()
        note(target, prediction, len(rows), terms.received, decoded)
        chosen = self._observer.choose(opened.watch, len(rows), "v1", prediction)
        answers = await self._run_rows(target, rows, terms, chosen)
        predictions = [tasks.prediction(row, opened.manifest.labels, top) for row, _ in answers]
        decode, total = decoded - terms.received, time.monotonic() - terms.received
        timings = {
            "decode": decode,
            "queue": max(answer.queue for _, answer in answers),
            "compute": max(answer.compute for _, answer in answers),
            "total": total,
        }
        self._count(target, "v1", decode, total)
        return Outcome(
            prediction,
            target,
            predictions,
            {name: round(1000 * s, 3) for name, s in timings.items()},
        )

    async def infer(
        self,
        target: Target,
        tensors: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        terms: Terms,
        api: str = "v2",
    ) -> TensorOutcome:
        """Run tensors [rows, ...] and return `outputs`, all of them when none is named; timed as a request over `api`.

        Raises InputError naming the tensor, Unavailable, DeadlineExceeded, EngineError.
        """
        opened = self._router.opened(target)
        signature, prediction = opened.signature, new_id()
        ordered = signature.check(tensors)
        rows = signature.rows(ordered)
        self._check_rows(rows)
        names = signature.check_outputs(outputs)
        lane = signature.lane(terms.priority)
        decoded = time.monotonic()
        note(target, prediction, rows, terms.received, decoded)
        chosen = self._observer.choose(opened.watch, rows, api, prediction)
        asked = names if chosen is None else chosen.watch.outputs(names)
        answer = await self._router.infer(target, ordered, asked, terms.deadline, lane)
        if chosen is not None:
            self._observer.put(chosen, range(rows), ordered, answer.outputs)
            answer = answer._replace(outputs={name: answer.outputs[name] for name in names})
        if self._router.shadows:
            self._shadow.copy(target, ordered, names, answer)
        decode = decoded - terms.received
        self._count(target, api, decode, time.monotonic() - terms.received)
        times = Times(decode, answer.queue, answer.compute)
        return TensorOutcome(prediction, answer.outputs, times)

    def counted(self, target: Target, api: str) -> Counted:
        """Count a request as in flight while the block runs, and by its outcome."""
        return Counted(self._metrics, target.model, target.version, api)

    def _count(self, target: Target, api: str, decode: float, total: float) -> None:
        """The times (s) of an answered request; where it is traced, they lead to its trace."""
        tally = self._metrics.of(target.model, target.version, api)
        tally.time(decode, total)
        asked = context.current.get()
        if asked is not None and asked.trace is not None and asked.trace_id is not None:
            tally.exemplify(decode, total, asked.trace_id, time.time())

    async def _decode(self, processor: tasks.Processor, items: Sequence[object]) -> list[tasks.Row]:
        def decode() -> list[tasks.Row]:
            return [
                named_row(processor, index, item, len(items)) for index, item in enumerate(items)
            ]

        weights = [processor.weight(item) for item in items]
        if (total := sum(weights)) > (most := 4 * tasks.MAX_PIXELS) and len(items) > 1:
            raise TooLarge(
                f"the request's items need {total:,} bytes when decoded, the limit is {most:,}"
            )
        if total < LARGE_ITEM:
            return decode()
        return await asyncio.get_running_loop().run_in_executor(self._decoders, decode)

    async def _run_rows(
        self, target: Target, rows: Sequence[tasks.Row], terms: Terms, chosen: Chosen | None
    ) -> list[tuple[np.ndarray, Answer]]:
        """Each row's probabilities. Rows of equal shapes travel together; the engine batches the rest by bucket."""
        manifest = self._router.opened(target).manifest
        output = manifest.output("probabilities")
        if output is None:
            raise InputError(f"model '{manifest.name}' gives no probabilities; ask it over /v2")
        groups: dict[object, list[int]] = {}
        for index, row in enumerate(rows):
            groups.setdefault(tasks.shape_key(row), []).append(index)
        parts = [tasks.stack([rows[i] for i in members]) for members in groups.values()]
        asked = [output.name] if chosen is None else chosen.watch.outputs([output.name])
        runs = [self._router.infer(target, part, asked, terms.deadline) for part in parts]
        found: dict[int, tuple[np.ndarray, Answer]] = {}
        answers = await all_or_error(runs)
        if chosen is not None:
            for members, part, answer in zip(groups.values(), parts, answers, strict=True):
                self._observer.put(chosen, members, part, answer.outputs)
        if self._router.shadows:
            for part, answer in zip(parts, answers, strict=True):
                self._shadow.copy(target, part, [output.name], answer)
        for members, answer in zip(groups.values(), answers, strict=True):
            for index, row in zip(members, answer.outputs[output.name], strict=True):
                found[index] = (row, answer)
        return [found[index] for index in range(len(rows))]

    def _count_files(self, model: str, items: Sequence[object]) -> None:
        files = self._metrics.of_files(model)
        for item in items:
            if isinstance(item, bytes):
                files.count(item)

    def _check_rows(self, rows: int) -> None:
        if rows > (most := self._settings.max_request_rows):
            raise TooLarge(f"the request has {rows} items, the limit is {most}")
        if not rows:
            raise InputError("the request has no items")


def note(target: Target, prediction: str, rows: int, received: float, decoded: float) -> None:
    """Tell the running task's request, if anything is told of it, what it has become."""
    if (asked := context.current.get()) is not None:
        asked.note(target.model, target.version, prediction, rows)
        asked.note_decoding(received, decoded)


def named_row(processor: tasks.Processor, index: int, item: object, count: int) -> tasks.Row:
    """The row of one item; with several, the message of an InputError says which."""
    try:
        return processor.row(item)
    except InputError as error:
        if count == 1:
            raise
        raise type(error)(f"item {index}: {error}") from error


async def all_or_error(runs: Sequence[Coroutine[Any, Any, Answer]]) -> list[Answer]:
    """Every result; on the first error the others are cancelled, so that nothing is computed for nobody."""
    if len(runs) == 1:
        return [await runs[0]]
    try:
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(run) for run in runs]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in running]


class Identifiers:
    """UUIDs of version 7: unique, and sorted by time, which is how predictions expire.

    The random part is drawn for many at once: a system call for each would cost more than the rest.
    """

    BYTES, AT_ONCE = 10, 400

    def __init__(self) -> None:
        self._pool: Iterator[str] = iter(())

    def __call__(self) -> str:
        chunk = next(self._pool, None)
        if chunk is None:
            drawn = os.urandom(self.BYTES * self.AT_ONCE).hex()
            size = 2 * self.BYTES
            self._pool = iter([drawn[at : at + size] for at in range(0, len(drawn), size)])
            chunk = next(self._pool)
        at = f"{time.time_ns() // 1_000_000:012x}"
        variant = "89ab"[int(chunk[3], 16) & 3]
        return f"{at[:8]}-{at[8:]}-7{chunk[:3]}-{variant}{chunk[4:7]}-{chunk[8:]}"


new_id = Identifiers()
