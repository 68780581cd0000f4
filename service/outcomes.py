"""How a request's end is counted: by its error's class, and by what was wrong with its data. It must not know what happened in between."""

import asyncio
import time
from types import TracebackType

from models.errors import (
    EvergreenError,
    InputError,
    Malformed,
    NotFinite,
    TooLarge,
    Undecodable,
)
from service.errors import ClientGone, UnsupportedMedia
from service.tallies import FrontEndMetrics

INVALID: tuple[tuple[type[EvergreenError], str], ...] = (
    (Undecodable, "undecodable"),
    (NotFinite, "not_finite"),
    (Malformed, "malformed"),
    (TooLarge, "too_large"),
    (UnsupportedMedia, "media_type"),
    (InputError, "refused"),
)
"""Errors that say something of the data which came: the first match counts."""


class Counted:
    """A request from when its model is known until it is answered."""

    __slots__ = ("_began", "_metrics", "_model", "_tally")

    def __init__(self, metrics: FrontEndMetrics, model: str, version: int, api: str) -> None:
        self._metrics, self._model = metrics, model
        self._tally = metrics.of(model, version, api)

    def __enter__(self) -> None:
        self._tally.begin()
        self._began = time.monotonic()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self._tally.end("ok")
        else:
            self._tally.fail(outcome(error), time.monotonic() - self._began)
            if (reason := refused_for(error)) is not None:
                self._metrics.refuse(self._model, reason)


def outcome(error: BaseException) -> str:
    """How a request that raised `error` is counted: by the error's class, where it is one of ours."""
    if isinstance(error, ClientGone | asyncio.CancelledError):
        return "cancelled"
    if isinstance(error, EvergreenError):
        return type(error).__name__
    # The framework's refusals (a body over the limit, say) are the caller's, too.
    return "refused" if getattr(error, "status_code", 500) < 500 else "defect"


def refused_for(error: BaseException) -> str | None:
    """Why an input is invalid; None where it is not what was wrong."""
    return next((reason for kind, reason in INVALID if isinstance(error, kind)), None)
