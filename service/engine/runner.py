"""One batch on the session, so that nobody pays for a neighbour: what fails is halved until the guilty request is alone.

It must not know queues, sockets or the event loop; it runs in a run thread.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np

from service.errors import DeviceLost, EngineError, OutOfMemory

Tensors = dict[str, np.ndarray]


class Runs(Protocol):
    """What a session offers to whoever runs batches on it."""

    def run(
        self, requests: Sequence[Tensors], wanted: Sequence[str] | None = None
    ) -> list[Tensors]:
        """Each request's outputs; EngineError when the batch failed."""
        ...

    def rows(self, tensors: Tensors) -> int:
        """How many rows a request brings; one of more can be run in parts."""
        ...


class Ran(NamedTuple):
    """What became of a batch. `whole`: it ran in one piece, so that its time says something.

    `too_large`: the fewest rows that did not fit into memory.
    """

    answers: list[Tensors | EngineError]
    whole: bool = True
    too_large: int | None = None


def run(session: Runs, requests: Sequence[Tensors], wanted: Sequence[str] | None = None) -> Ran:
    """The answer to each of `requests` (tensors [rows, ...]), or the error that it alone has earned.

    Raises DeviceLost: nothing runs on this device any more.
    """
    try:
        return Ran(list(session.run(requests, wanted)))
    except DeviceLost:
        raise
    except OutOfMemory as error:
        return run_smaller(session, requests, wanted, error)
    except Exception as error:  # noqa: BLE001 - a defect here must answer its caller, too, and only its own
        if len(requests) == 1:
            return Ran([as_engine_error(error)], False)
        return run_apart(session, requests, wanted)


def run_apart(
    session: Runs,
    requests: Sequence[Tensors],
    wanted: Sequence[str] | None,
    rows: int | None = None,
) -> Ran:
    """Both halves of `requests`; `rows` did not fit together."""
    middle = len(requests) // 2
    first, second = (run(session, half, wanted) for half in (requests[:middle], requests[middle:]))
    too_large = [n for n in (rows, first.too_large, second.too_large) if n is not None]
    return Ran(first.answers + second.answers, False, min(too_large, default=None))


def run_smaller(
    session: Runs, requests: Sequence[Tensors], wanted: Sequence[str] | None, error: OutOfMemory
) -> Ran:
    """What did not fit into memory, in halves: of the requests, or of the rows of the only one."""
    rows = sum(map(session.rows, requests))
    if len(requests) > 1:
        return run_apart(session, requests, wanted, rows)
    if rows == 1:
        return Ran([error], False, 1)
    parts = run_apart(session, halves(requests[0]), wanted, rows)
    failed = [answer for answer in parts.answers if isinstance(answer, EngineError)]
    return Ran([failed[0] if failed else joined(parts.answers)], False, parts.too_large)


def count_rows(request: Tensors) -> int:
    """The length of the axis that all tensors share."""
    return len(next(iter(request.values())))


def halves(request: Tensors) -> list[Tensors]:
    """The first and the second half of a request's rows."""
    middle = count_rows(request) // 2
    return [
        {name: array[:middle] for name, array in request.items()},
        {name: array[middle:] for name, array in request.items()},
    ]


def joined(parts: Sequence[Tensors | EngineError]) -> Tensors:
    """Outputs of parts of a request as outputs of the whole."""
    tensors = [part for part in parts if not isinstance(part, EngineError)]
    return {name: np.concatenate([part[name] for part in tensors]) for name in tensors[0]}


def as_engine_error(error: Exception) -> EngineError:
    """The error itself, or a defect of ours in the words that a caller may see."""
    return (
        error if isinstance(error, EngineError) else EngineError(f"{type(error).__name__}: {error}")
    )
