"""The spine: what happens between a request's body and its answer, for people (/v1) and programs (/v2) alike.

    body -> decode (models.tasks) -> target (routing) -> engine (routing -> engine.client) -> encode (models.tasks) -> answer

It must not know HTTP: it takes and returns values, and raises the errors that `api.problems` turns into statuses.
"""

import asyncio
import os
import time
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from models import bundle, tasks
from models.errors import EvergreenError, InputError, TooLarge
from service.engine.client import Answer
from service.engine.lanes import NORMAL
from service.errors import ClientGone
from service.routing import Router, Target
from service.settings import Settings
from service.shadow import Shadow
from service.tallies import FrontEndMetrics, RequestTally

LARGE_ITEM = 256 * 1024
"""Bytes of decoded items from which decoding moves off the event loop: 256 x 256 pixels take a millisecond."""
DECODERS = 2
"""Requests that are decoded at a time, off the event loop; each may hold some hundred megabytes while it is."""


class Terms(NamedTuple):
    """What a caller asks for beside an answer. Seconds of time.monotonic(): when the body was complete, and when the answer is due.

    `priority`: one of `engine.lanes.PRIORITIES`.
    """

    received: float
    deadline: float
    priority: int = NORMAL


class Outcome(NamedTuple):
    """What a task request comes to. Milliseconds; `queue` and `compute` are each the longest of its parts."""

    prediction_id: str
    target: Target
    predictions: list[tasks.Prediction]
    timings_ms: dict[str, float]


class TensorOutcome(NamedTuple):
    """What a tensor request comes to: outputs [rows, ...] in the order asked for."""

    prediction_id: str
    outputs: dict[str, np.ndarray]


class Predictor:
    """Predictions over the versions that `router` reaches."""

    def __init__(self, settings: Settings, router: Router, metrics: FrontEndMetrics) -> None:
        self._settings = settings
        self._router = router
        self._metrics = metrics
        self._shadow = Shadow(router, metrics)
        self._decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")

    def terms(self, received: float, timeout: float | None, priority: int = NORMAL) -> Terms:
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
        rows = await self._decode(opened.processor, items)
        decoded = time.monotonic()
        answers = await self._run_rows(target, rows, opened.manifest, terms)
        predictions = [tasks.prediction(row, opened.manifest.labels, top) for row, _ in answers]
        decode, total = decoded - terms.received, time.monotonic() - terms.received
        timings = {
            "decode": decode,
            "queue": max(answer.queue for _, answer in answers),
            "compute": max(answer.compute for _, answer in answers),
            "total": total,
        }
        self._metrics.of(target.model, target.version, "v1").time(decode, total)
        return Outcome(
            new_id(), target, predictions, {name: round(1000 * s, 3) for name, s in timings.items()}
        )

    async def infer(
        self,
        target: Target,
        tensors: Mapping[str, np.ndarray],
        outputs: Sequence[str],
        terms: Terms,
    ) -> TensorOutcome:
        """Run tensors [rows, ...] and return `outputs`, all of them when none is named.

        Raises InputError naming the tensor, Unavailable, DeadlineExceeded, EngineError.
        """
        signature = self._router.opened(target).signature
        ordered = signature.check(tensors)
        self._check_rows(signature.rows(ordered))
        names = signature.check_outputs(outputs)
        decoded = time.monotonic()
        answer = await self._router.infer(target, ordered, names, terms.deadline, terms.priority)
        if self._router.shadows:
            self._shadow.copy(target, ordered, names, answer)
        tally = self._metrics.of(target.model, target.version, "v2")
        tally.time(decoded - terms.received, time.monotonic() - terms.received)
        return TensorOutcome(new_id(), answer.outputs)

    def counted(self, target: Target, api: str) -> "Counted":
        """Count a request as in flight while the block runs, and by its outcome."""
        return Counted(self._metrics.of(target.model, target.version, api))

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
        self, target: Target, rows: Sequence[tasks.Row], manifest: bundle.Manifest, terms: Terms
    ) -> list[tuple[np.ndarray, Answer]]:
        """Each row's probabilities. Rows of equal shapes travel together; the engine batches the rest by bucket."""
        output = manifest.output("probabilities")
        if output is None:
            raise InputError(f"model '{manifest.name}' gives no probabilities; ask it over /v2")
        groups: dict[object, list[int]] = {}
        for index, row in enumerate(rows):
            groups.setdefault(tasks.shape_key(row), []).append(index)
        parts = [tasks.stack([rows[i] for i in members]) for members in groups.values()]
        runs = [
            self._router.infer(target, part, [output.name], terms.deadline, terms.priority)
            for part in parts
        ]
        found: dict[int, tuple[np.ndarray, Answer]] = {}
        answers = await all_or_error(runs)
        if self._router.shadows:
            for part, answer in zip(parts, answers, strict=True):
                self._shadow.copy(target, part, [output.name], answer)
        for members, answer in zip(groups.values(), answers, strict=True):
            for index, row in zip(members, answer.outputs[output.name], strict=True):
                found[index] = (row, answer)
        return [found[index] for index in range(len(rows))]

    def _check_rows(self, rows: int) -> None:
        if rows > (most := self._settings.max_request_rows):
            raise TooLarge(f"the request has {rows} items, the limit is {most}")
        if not rows:
            raise InputError("the request has no items")


class Counted:
    """A request from when its model is known until it is answered."""

    __slots__ = ("_tally",)

    def __init__(self, tally: RequestTally) -> None:
        self._tally = tally

    def __enter__(self) -> None:
        self._tally.begin()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._tally.end("ok" if error is None else outcome(error))


def outcome(error: BaseException) -> str:
    """How a request that raised `error` is counted: by the error's class, where it is one of ours."""
    if isinstance(error, ClientGone | asyncio.CancelledError):
        return "cancelled"
    if isinstance(error, EvergreenError):
        return type(error).__name__
    # The framework's refusals (a body over the limit, say) are the caller's, too.
    return "refused" if getattr(error, "status_code", 500) < 500 else "defect"


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
