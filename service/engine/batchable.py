"""Whether rows of different callers may run together on a graph of which nothing is known: proved by running them, or not done.

    declared: every input and every output has a free first axis, which the inputs share
    shown:    rows run apart and together, in other orders and numbers, give the same answers, and as many as there are rows

Pure numpy; it must not know ONNX Runtime: it is handed something that runs a graph.
"""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from models.bundle import ANY_RANK, UNNAMED, Tensor
from service.engine import rows
from service.engine.graph import Signature
from service.engine.layout import Tensors
from service.engine.rows import Guess
from service.errors import EngineError

BUDGET = 8.0
"""Seconds that a load may spend on it. A graph whose rows take so long gains little from company."""
ENOUGH = 2
"""Guesses that must have run before rows are believed to be independent, where the graph takes so many."""
MANY, FEW = 8, 3
"""Rows that are run apart and together; few where they are slow. With many, answers that depend on values show more of themselves."""
SLOW = 0.05
"""Seconds of a row that make it slow."""
GENERATED = ("unk__",)
"""How converters begin the names that they make up for axes: such a name says nothing."""
TOLERANCE = {"float16": 1e-2, "float32": 1e-4, "float64": 1e-8}
"""Of floats, relative to the largest of the answer: a batch of another size is computed in another order."""
TF32_TOLERANCE = 5e-3
LEAST = 1e-9
"""Numbers below it count as nothing."""
MIXING = frozenset(("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"))
"""Operators that take one scale from all rows of a batch."""

Run = Callable[[Tensors, float], Tensors]
"""Runs the graph for at most so many seconds. Raises EngineError where it refuses, TooSlow where it did not end."""


class TooSlow(EngineError):
    """A run was stopped because it took longer than it was given."""


class Mixed(Exception):
    """Rows must not run together; the message says why."""


class Found(NamedTuple):
    """What came out. `reason`: why rows may run together, or why not; `kept` and `answers`: rows that ran, empty where none did."""

    batched: bool
    reason: str
    kept: Tensors
    answers: Tensors


class Search:
    """One attempt to find out, for one graph. `apart`: why its rows must not run together, where that is known already."""

    def __init__(
        self, declared: Signature, run: Run, tf32: bool = False, apart: str | None = None
    ) -> None:
        self._declared = declared
        self._run = run
        self._apart = apart
        self._tolerance = TOLERANCE | ({"float32": TF32_TOLERANCE} if tf32 else {})
        self._ends = time.monotonic() + BUDGET
        self._refusal: EngineError | None = None
        self._ran: tuple[Tensors, Tensors] | None = None
        self._difference = 0.0
        self._runs = 0

    def result(self) -> Found:
        """Run what can be run within the budget."""
        try:
            if reason := self._apart or why_not_declared(self._declared):
                raise Mixed(reason)
            reason = self._together()
        except Mixed as mixed:
            kept, answers = self._ran or self._alone()
            return Found(False, str(mixed), kept, answers)
        except TooSlow as error:
            kept, answers = self._ran or ({}, {})
            return Found(False, f"{error}: too slow to find out more", kept, answers)
        kept, answers = self._ran or ({}, {})
        return Found(True, reason, kept, answers)

    def _together(self) -> str:
        """How it was shown that rows may run together. Mixed where it was not."""
        shown, told_apart = 0, False
        for guess in rows.guesses(self._declared.inputs):
            try:
                batch, apart = self._rows_apart(guess)
            except TooSlow:
                raise
            except EngineError as error:
                self._refusal = self._refusal or error
                continue
            self._compare(batch, apart)
            shown += 1
            told_apart = told_apart or self._differ(apart[0], apart[1])
            if shown >= ENOUGH and told_apart:
                break
        if not shown:
            raise Mixed(f"it takes no generated rows, so nothing could be shown: {self._refusal}")
        if not told_apart:
            raise Mixed("it answers all generated rows alike, which shows nothing")
        return (
            f"rows gave equal answers together and apart in {self._runs} runs "
            f"(largest difference {self._difference:.1g})"
        )

    def _rows_apart(self, guess: Guess) -> tuple[Tensors, list[Tensors]]:
        """(rows as a batch, the answer to each of the first of them alone). Mixed where a row's answer is not one row."""
        batch = rows.generate(self._declared.inputs, guess, MANY, self._runs)
        begun = time.monotonic()
        apart = [self._ask(take(batch, [0]))]
        count = MANY if time.monotonic() - begun < SLOW else FEW
        apart += [self._ask(take(batch, [row])) for row in range(1, count)]
        for name, array in apart[0].items():
            if array.ndim == 0 or len(array) != 1:
                raise Mixed(f"output '{name}' has shape {list(array.shape)} for one row")
        self._ran = self._ran or (take(batch, [0]), apart[0])
        return batch, apart

    def _compare(self, batch: Tensors, apart: Sequence[Tensors]) -> None:
        """Raise Mixed where rows answer otherwise in company."""
        everything = range(len(apart))
        often = 4 if len(apart) == MANY else 2
        for group in ([*everything], [everything[-1], 0], [*everything] * often):
            try:
                together = self._ask(take(batch, group))
            except TooSlow:
                raise
            except EngineError as error:
                raise Mixed(f"{len(group)} rows fail together, not apart: {error}") from error
            for name, array in together.items():
                self._check_rows(name, array, [apart[row][name] for row in group])

    def _check_rows(self, name: str, array: np.ndarray, alone: Sequence[np.ndarray]) -> None:
        count = len(alone)
        if array.ndim == 0 or len(array) != count:
            raise Mixed(f"output '{name}' has shape {list(array.shape)} for {count} rows")
        for row, expected in enumerate(alone):
            if array[row : row + 1].shape != expected.shape:
                raise Mixed(
                    f"output '{name}' has shape {list(array.shape)} for {count} rows, {list(expected.shape)} for one alone"
                )
            difference = distance(array[row : row + 1], expected)
            if difference > (limit := self._tolerance.get(array.dtype.name, 0.0)):
                raise Mixed(
                    f"output '{name}' of a row differs by {difference:.2g} of its size when others run with it, the limit is {limit:g}"
                )
            self._difference = max(self._difference, difference)

    def _differ(self, one: Tensors, other: Tensors) -> bool:
        """Whether two rows' answers are finite, and not the same."""
        return any(
            bool(distance(one[name], other[name]) > self._tolerance.get(array.dtype.name, 0.0))
            for name, array in one.items()
            if array.shape == other[name].shape and sound(array) and sound(other[name])
        )

    def _alone(self) -> tuple[Tensors, Tensors]:
        """A request that runs, with its answer: it shows what the graph gives, and warms it. Empty where none does."""
        for guess in rows.guesses(self._declared.inputs):
            tensors = rows.generate(self._declared.inputs, guess, None, self._runs)
            try:
                return tensors, self._ask(tensors)
            except TooSlow:
                break
            except EngineError:
                continue
        return {}, {}

    def _ask(self, tensors: Tensors) -> Tensors:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TooSlow(f"runs on generated rows take more than {BUDGET:g} s")
        self._runs += 1
        return self._run(tensors, left)


def why_not_declared(declared: Signature) -> str | None:
    """Why the declaration alone says that rows cannot run together, or None."""
    if found := MIXING & declared.operators:
        return f"{', '.join(sorted(found))} takes one scale from all rows of a batch"
    required = [tensor for tensor in declared.inputs if not tensor.optional]
    if not required:
        return "every input has a value of its own"
    for role, tensors in (("input", required), ("output", declared.outputs)):
        for tensor in tensors:
            if tensor.shape == ANY_RANK and role == "output":
                continue  # it is seen when it runs
            if not tensor.shape or isinstance(tensor.shape[0], int) or tensor.shape == ANY_RANK:
                return f"{role} '{tensor.name}' has no free first axis: {list(tensor.shape)}"
    return why_not_shared(required)


def why_not_shared(required: Sequence[Tensor]) -> str | None:
    """Why the inputs' first axes, all of them free, cannot be one and the same, or None."""
    named = [one for one in required if says_something(str(one.shape[0]))]
    for one in named[1:]:
        if one.shape[0] != named[0].shape[0]:
            return (
                f"the first axis of input '{named[0].name}' is '{named[0].shape[0]}', "
                f"that of '{one.name}' '{one.shape[0]}'"
            )
    for one in required:
        if named and named[0].shape[0] in one.shape[1:]:
            return f"input '{one.name}' has the axis '{named[0].shape[0]}' elsewhere, too: {list(one.shape)}"
    return None


def says_something(axis: str) -> bool:
    """Whether the name of an axis was given by somebody."""
    return axis != UNNAMED and not axis.startswith(GENERATED)


def take(batch: Tensors, group: Sequence[int]) -> Tensors:
    """Some rows of a batch, in that order."""
    return {name: np.ascontiguousarray(array[list(group)]) for name, array in batch.items()}


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """The largest difference of two arrays of one shape, relative to the largest number in them; infinite where what is no number differs."""
    if one.dtype.kind != "f":
        return 0.0 if np.array_equal(one, other) else float("inf")
    wide_one, wide_other = one.astype(np.float64), other.astype(np.float64)
    finite = np.isfinite(wide_one)
    if not np.array_equal(wide_one[~finite], wide_other[~finite], equal_nan=True):
        return float("inf")
    if not finite.any():
        return 0.0
    left, right = wide_one[finite], wide_other[finite]
    size = max(float(np.abs(left).max()), float(np.abs(right).max()), LEAST)
    return float(np.abs(left - right).max()) / size


def sound(array: np.ndarray) -> bool:
    """Whether the array holds something, and no number that is not finite."""
    return array.size > 0 and (array.dtype.kind != "f" or bool(np.isfinite(array).all()))
