"""Errors as answers: one table from what was raised to a status. It must not know why something was raised.

/v1 and the rest answer RFC 9457 problem details, /v2 answers {"error": "..."} on every non-2xx: that is where its clients look.
"""

import http
import logging
import math
import uuid
from typing import Any, NamedTuple

import msgspec
from litestar import Request, Response
from litestar.exceptions import HTTPException

from models.errors import (
    BundleError,
    Conflict,
    EvergreenError,
    InputError,
    Malformed,
    RegistryUnavailable,
    TooLarge,
)
from service import context, errors
from service.api.compression import CODINGS

log = logging.getLogger(__name__)

AnyRequest = Request[Any, Any, Any]

STATUSES: tuple[tuple[type[EvergreenError], int], ...] = (
    (TooLarge, 413),
    (Malformed, 400),
    (InputError, 422),
    (errors.NotFound, 404),
    (errors.UnsupportedMedia, 415),
    (errors.Unauthenticated, 401),
    (errors.Forbidden, 403),
    (errors.QuotaExceeded, 429),
    (errors.Unsupported, 501),
    (Conflict, 412),
    (errors.Refused, 409),
    (errors.Unavailable, 503),
    (errors.DeadlineExceeded, 504),
    (errors.ClientGone, 408),  # nobody is there to read it
    (errors.EngineError, 500),
    (BundleError, 409),  # a version that somebody asked for, and that cannot be
    (RegistryUnavailable, 503),
)
"""First match wins. On /v2 every fault of the caller but 404, 413 and 415 is 400: the protocol knows no other."""

HEADERS: dict[type[EvergreenError], dict[str, str]] = {
    errors.Unauthenticated: {"www-authenticate": 'Bearer realm="evergreen"'},
    errors.UnsupportedCoding: {"accept-encoding": ", ".join(CODINGS)},
}
"""What an error's answer says beside its sentence."""


LONGEST = 1000
"""Characters of a sentence; its end, where the limits stand, is kept."""


class Problem(msgspec.Struct, omit_defaults=True):
    """RFC 9457. `title` is the status in words, `detail` the sentence for this case."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    instance: str | None = None


class Rendered(NamedTuple):
    """An error as a response."""

    status: int
    headers: dict[str, str]
    body: bytes


def respond(request: AnyRequest, error: Exception) -> Response[bytes]:
    """The application's handler of every exception."""
    status, headers, body = render(request.url.path, error)
    media = headers.pop("content-type")
    return Response(body, status_code=status, headers=headers, media_type=media)


def render(path: str, error: Exception) -> Rendered:
    """The response to `error` on `path`. A defect of ours is logged with its traceback, of which the caller sees nothing."""
    if isinstance(error, EvergreenError):
        return from_domain(path, error)
    if isinstance(error, HTTPException):
        return from_http(path, error)
    asked = context.current.get()
    if asked is not None and asked.request_id is not None:
        named = {}
    else:  # so that whoever is told of it finds the line
        named = {"request_id": uuid.uuid4().hex}
    log.error("a request met a defect", exc_info=error, extra={"path": path, **named})
    headers = {"x-request-id": named["request_id"]} if named else {}
    return answer(path, 500, "the server failed on this request; its log says why", headers)


def from_domain(path: str, error: EvergreenError) -> Rendered:
    """An error that this project raised on purpose."""
    status = next((status for kind, status in STATUSES if isinstance(error, kind)), 500)
    headers = dict(HEADERS.get(type(error), {}))
    if status in (429, 503):
        headers["retry-after"] = str(max(1, math.ceil(getattr(error, "retry_after", 1.0))))
    return answer(path, status, str(error), headers)


def from_http(path: str, error: HTTPException) -> Rendered:
    """An error of the framework: no such route, wrong verb, body over the limit, malformed JSON."""
    detail = error.detail
    if extra := getattr(error, "extra", None):
        parts = (
            f"{e.get('key', '')} {e.get('message', '')}".strip() if isinstance(e, dict) else str(e)
            for e in extra
        )
        detail = f"{detail}: {'; '.join(parts)}"
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    return answer(path, error.status_code, detail, headers)


def answer(path: str, status: int, detail: str, headers: dict[str, str]) -> Rendered:
    """The error body that the route's clients read. A name in it may be as long as a request: it is cut, wherever the sentence comes from."""
    if len(detail) > LONGEST:
        detail = f"{detail[: LONGEST // 2]} ... {detail[-LONGEST // 2 :]}"
    if path == "/v2" or path.startswith("/v2/"):
        status = 400 if status == 422 else status
        body = msgspec.json.encode({"error": detail})
        media = "application/json"
    else:
        problem = Problem(http.HTTPStatus(status).phrase, status, detail, instance=path)
        body = msgspec.json.encode(problem)
        media = "application/problem+json"
    return Rendered(status, headers | {"content-type": media}, body)


def as_http(told: Rendered) -> bytes:
    """A whole HTTP/1.1 answer, for where no framework writes it."""
    headers = told.headers | {"content-length": str(len(told.body))}
    lines = [f"{name}: {value}" for name, value in headers.items()]
    first = f"HTTP/1.1 {told.status} {http.HTTPStatus(told.status).phrase}"
    return "\r\n".join([first, *lines, "", ""]).encode("latin-1") + told.body


def application(told: Rendered) -> Any:
    """An ASGI application that answers so, whatever it is asked."""
    headers = told.headers | {"content-length": str(len(told.body))}
    sent = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]

    async def answer_so(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": told.status, "headers": sent})
        await send({"type": "http.response.body", "body": told.body})

    return answer_so
