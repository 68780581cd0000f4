"""The spine: what happens between a request's body and its answer, for people (/v1) and programs (/v2) alike.

    body -> decode (models.tasks) -> target (routing) -> engine (routing -> engine.client) -> encode (models.tasks) -> answer

It must not know HTTP: it takes and returns values, and raises the errors that `api.problems` turns into statuses.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from secrets import randbits
from typing import Any, NamedTuple

import numpy as np

from models import bundle, tasks
from models.errors import EvergreenError, InputError, TooLarge
from service.engine.client import Answer
from service.metrics import FrontEndMetrics
from service.routing import Router, Target
from service.settings import Settings

LARGE_ITEM = 256 * 1024
"""Bytes of decoded items from which decoding moves off the event loop: 256 x 256 pixels take a millisecond."""
DECODERS = 2
"""Requests that are decoded at a time, off the event loop; each may hold some hundred megabytes while it is."""


class Outcome(NamedTuple):
    """What a task request comes to. Milliseconds; `queue` and `compute` are each the longest of its parts."""

    prediction_id: str
    target: Target
    predictions: list[tasks.Prediction]
    timings_ms: dict[str, float]


class TensorOutcome(NamedTuple):
    """What a tensor request comes to: outputs [rows, ...] in the order asked for."""

    prediction_id: str
    target: Target
    outputs: dict[str, np.ndarray]


class Predictor:
    """Predictions over the versions that `router` reaches."""

    def __init__(self, settings: Settings, router: Router, metrics: FrontEndMetrics) -> None:
        self._settings = settings
        self._router = router
        self._metrics = metrics
        self._decoders = ThreadPoolExecutor(DECODERS, thread_name_prefix="decode")

    async def predict(self, target: Target, items: Sequence[object], *, top: int = 3) -> Outcome:
        """Classify `items` (images, series or texts, as the model's task takes them).

        Raises InputError naming the item, Unavailable, DeadlineExceeded, EngineError.
        """
        started = time.monotonic()
        opened = self._router.opened(target)
        self._check_rows(len(items))
        rows = await self._decode(opened.processor, items)
        decoded = time.monotonic()
        answers = await self._run_rows(
            target, rows, opened.manifest, started + self._settings.request_timeout_s
        )
        predictions = [tasks.prediction(row, opened.manifest.labels, top) for row, _ in answers]
        finished = time.monotonic()
        timings = {
            "decode": decoded - started,
            "queue": max(answer.queue for _, answer in answers),
            "compute": max(answer.compute for _, answer in answers),
            "total": finished - started,
        }
        self._time(target, "v1", decoded - started, finished - started)
        return Outcome(
            new_id(), target, predictions, {name: round(1000 * s, 3) for name, s in timings.items()}
        )

    async def infer(
        self,
        target: Target,
        tensors: dict[str, np.ndarray],
        outputs: Sequence[str],
        *,
        received: float,
    ) -> TensorOutcome:
        """Run tensors [rows, ...] and return `outputs`, all of them when none is named.

        `received`: when the body was complete, in seconds of time.monotonic(). Raises InputError naming the
        tensor, Unavailable, DeadlineExceeded, EngineError.
        """
        manifest, processor = self._router.opened(target)
        rows = check_tensors(manifest, tensors)
        processor.check(tensors)
        self._check_rows(rows)
        known = [tensor.name for tensor in manifest.outputs]
        if unknown := [name for name in outputs if name not in known]:
            raise InputError(
                f"unexpected output '{unknown[0]}', the model gives {', '.join(known)}"
            )
        decoded = time.monotonic()
        deadline = received + self._settings.request_timeout_s
        ordered = {tensor.name: tensors[tensor.name] for tensor in manifest.inputs}
        answer = await self._router.infer(target, ordered, list(outputs) or known, deadline)
        self._time(target, "v2", decoded - received, time.monotonic() - received)
        return TensorOutcome(new_id(), target, answer.outputs)

    @contextlib.contextmanager
    def counted(self, target: Target, api: str) -> Iterator[None]:
        """Count a request as in flight, and by its outcome: "ok", or the error's class."""
        in_flight = self._metrics.in_flight.labels(target.model, str(target.version))
        in_flight.inc()
        outcome = "ok"
        try:
            yield
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except EvergreenError as error:
            outcome = type(error).__name__
            raise
        except Exception as error:
            # The framework's refusals (a body over the limit, say) are the caller's, too.
            outcome = "refused" if getattr(error, "status_code", 500) < 500 else "defect"
            raise
        finally:
            in_flight.dec()
            self._metrics.requests.labels(target.model, str(target.version), api, outcome).inc()

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
        self, target: Target, rows: Sequence[tasks.Row], manifest: bundle.Manifest, deadline: float
    ) -> list[tuple[np.ndarray, Answer]]:
        """Each row's probabilities. Rows of equal shapes travel together; the engine batches the rest by bucket."""
        output = manifest.output("probabilities")
        if output is None:
            raise InputError(f"model '{manifest.name}' gives no probabilities; ask it over /v2")
        groups: dict[object, list[int]] = {}
        for index, row in enumerate(rows):
            groups.setdefault(tasks.shape_key(row), []).append(index)
        runs = [
            self._router.infer(
                target, tasks.stack([rows[i] for i in members]), [output.name], deadline
            )
            for members in groups.values()
        ]
        found: dict[int, tuple[np.ndarray, Answer]] = {}
        for members, answer in zip(groups.values(), await all_or_error(runs), strict=True):
            for index, row in zip(members, answer.outputs[output.name], strict=True):
                found[index] = (row, answer)
        return [found[index] for index in range(len(rows))]

    def _check_rows(self, rows: int) -> None:
        if rows > (most := self._settings.max_request_rows):
            raise TooLarge(f"the request has {rows} items, the limit is {most}")
        if not rows:
            raise InputError("the request has no items")

    def _time(self, target: Target, api: str, decode: float, total: float) -> None:
        labels = (target.model, str(target.version), api)
        self._metrics.decode.labels(*labels).observe(decode)
        self._metrics.duration.labels(*labels).observe(total)


def check_tensors(manifest: bundle.Manifest, tensors: dict[str, np.ndarray]) -> int:
    """The number of rows, when `tensors` are what the model takes. Raises InputError naming the tensor and both figures.

    Everything is checked here, before a batch is formed, so that no caller can spoil another's.
    """
    known = {tensor.name: tensor for tensor in manifest.inputs}
    for name in tensors:
        if name not in known:
            raise InputError(f"unexpected input '{name}', the model takes {', '.join(known)}")
    axes: dict[str, tuple[int, str]] = {}
    for tensor in manifest.inputs:
        if tensor.name not in tensors:
            raise InputError(
                f"expected {len(known)} inputs but got {len(tensors)}: '{tensor.name}' is missing"
            )
        array = tensors[tensor.name]
        check_tensor(tensor, array)
        for axis, count in zip(tensor.shape, array.shape, strict=True):
            if not isinstance(axis, str):
                continue
            first, owner = axes.setdefault(axis, (count, tensor.name))
            if count != first:
                raise InputError(
                    f"axis '{axis}' has {first} elements in '{owner}' but {count} in '{tensor.name}'"
                )
    check_padding(manifest, {axis: count for axis, (count, _) in axes.items()})
    return len(tensors[manifest.inputs[0].name])


def check_tensor(tensor: bundle.Tensor, array: np.ndarray) -> None:
    """Type, shape and finiteness of one input."""
    if array.dtype.name != tensor.dtype:
        raise InputError(
            f"input '{tensor.name}' has type {array.dtype.name}, the model takes {tensor.dtype}"
        )
    fits = array.ndim == len(tensor.shape) and all(
        isinstance(axis, str) or axis == count
        for axis, count in zip(tensor.shape, array.shape, strict=True)
    )
    if not fits or 0 in array.shape:
        expected = [-1 if isinstance(axis, str) else axis for axis in tensor.shape]
        raise InputError(
            f"input '{tensor.name}' has shape {list(array.shape)}, the model takes {expected}"
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InputError(f"input '{tensor.name}' holds NaN or an infinity")


def check_padding(manifest: bundle.Manifest, axes: dict[str, int]) -> None:
    """The padded axis within its limits."""
    padding = manifest.padding
    if padding is not None and not padding.minimum <= axes[padding.axis] <= padding.maximum:
        raise InputError(
            f"axis '{padding.axis}' has {axes[padding.axis]} elements, the model takes {padding.minimum} to {padding.maximum}"
        )


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


def new_id() -> str:
    """A UUID of version 7: unique, and sorted by time, which is how predictions expire."""
    bits = (
        (time.time_ns() // 1_000_000 & 0xFFFF_FFFF_FFFF) << 80
        | 7 << 76
        | randbits(12) << 64
        | 2 << 62
        | randbits(62)
    )
    return str(uuid.UUID(int=bits))
