"""Errors as answers: one table from what was raised to a status. It must not know why something was raised.

/v1 and the rest answer RFC 9457 problem details, /v2 answers {"error": "..."} on every non-2xx: that is where its clients look.
"""

import http
import logging
import math
from typing import Any

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from models.errors import BundleError, Conflict, EvergreenError, InputError, Malformed, TooLarge
from service import errors

log = logging.getLogger(__name__)

AnyRequest = Request[Any, Any, Any]

STATUSES: tuple[tuple[type[EvergreenError], int], ...] = (
    (TooLarge, 413),
    (Malformed, 400),
    (InputError, 422),
    (errors.NotFound, 404),
    (errors.UnsupportedMedia, 415),
    (Conflict, 412),
    (errors.Unavailable, 503),
    (errors.DeadlineExceeded, 504),
    (errors.EngineError, 500),
    (BundleError, 500),
)
"""First match wins. On /v2 every fault of the caller but 404, 413 and 415 is 400: the protocol knows no other."""


class Problem(msgspec.Struct, omit_defaults=True):
    """RFC 9457. `title` is the status in words, `detail` the sentence for this case."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    instance: str | None = None


def from_domain(request: AnyRequest, error: EvergreenError) -> Response[bytes]:
    """An error that this project raised on purpose."""
    status = next((status for kind, status in STATUSES if isinstance(error, kind)), 500)
    headers = {}
    if isinstance(error, errors.Unavailable):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    return answer(request, status, str(error), headers)


def from_http(request: AnyRequest, error: HTTPException) -> Response[bytes]:
    """An error of the framework: no such route, wrong verb, body over the limit, malformed JSON."""
    detail = error.detail
    if extra := getattr(error, "extra", None):
        parts = (
            f"{e.get('key', '')} {e.get('message', '')}".strip() if isinstance(e, dict) else str(e)
            for e in extra
        )
        detail = f"{detail}: {'; '.join(parts)}"
    return answer(request, error.status_code, detail, dict(error.headers or {}))


def from_defect(request: AnyRequest, error: Exception) -> Response[bytes]:
    """A defect of ours: the log has the traceback, the caller has none of it."""
    log.exception("a request met a defect", exc_info=error, extra={"path": request.url.path})
    return answer(request, 500, "the server failed on this request; its log says why", {})


def answer(
    request: AnyRequest, status: int, detail: str, headers: dict[str, str]
) -> Response[bytes]:
    """The error body that the route's clients read."""
    path = request.url.path
    if path == "/v2" or path.startswith("/v2/"):
        status = 400 if status == 422 else status
        body = msgspec.json.encode({"error": detail})
        media = "application/json"
    else:
        body = msgspec.json.encode(
            Problem(http.HTTPStatus(status).phrase, status, detail, instance=path)
        )
        media = "application/problem+json"
    return Response(body, status_code=status, headers=headers, media_type=media)
