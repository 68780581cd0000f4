"""POST /v2/models/{name}/infer without the framework: a thin ASGI layer in front of the Litestar application.

    the hot route -> InferRoute.answer -> status, headers, body        everything else -> Litestar

This is the one route where a framework's share of the time shows. Litestar knows the route, too, for its documentation and for
whoever mounts the application without this layer; both ask `InferRoute`, so they cannot differ.
"""

import re
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from models.errors import TooLarge
from service.api import problems, tensors
from service.api.connection import read_timeout, unless_gone
from service.errors import ClientGone, UnsupportedMedia
from service.predictor import Predictor
from service.routing import Router, Target

PATH = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?/infer/?")

JSON, BINARY = b"application/json", b"application/octet-stream"


class Said(NamedTuple):
    """The headers of a request that mean something here."""

    encoding: str | None
    header_length: str | None
    timeout_ms: str | None


class Answer(NamedTuple):
    """A good answer: its prediction id, its body, and how much of that is JSON where not all is."""

    prediction_id: str
    body: bytes
    header_length: int | None


class InferRoute:
    """What the route means, whoever serves it."""

    def __init__(self, router: Router, predictor: Predictor, max_body_bytes: int) -> None:
        self.router = router
        self.max_body_bytes = max_body_bytes
        self._predictor = predictor

    async def answer(self, target: Target, said: Said, body: bytes, receive: Any) -> Answer:
        """Run the request in `body`. Raises what `api.problems` turns into a status."""
        with self._predictor.counted(target, "v2"):
            received = time.monotonic()
            if said.encoding is not None:
                check_encoding(said.encoding)
            timeout = read_timeout(said.timeout_ms)
            asked, given = tensors.parse(body, said.header_length)
            if asked.timeout is not None:
                timeout = asked.timeout if timeout is None else min(timeout, asked.timeout)
            terms = self._predictor.terms(received, timeout, asked.priority)
            outcome = await unless_gone(
                receive, self._predictor.infer(target, given, asked.outputs, terms)
            )
            data, length = tensors.encode(asked, target.model, target.version, outcome.outputs)
        return Answer(outcome.prediction_id, data, length)


class HotRoute:
    """The ASGI application: answers the hot route itself and hands everything else, lifespan included, to `app`."""

    def __init__(self, app: Any, route: InferRoute) -> None:
        self.app = app
        self._route = route

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            found = PATH.fullmatch(scope["path"])
            if found is not None:
                await self._infer(scope, receive, send, found[1], found[2])
                return
        await self.app(scope, receive, send)

    async def _infer(
        self, scope: Any, receive: Any, send: Any, name: str, version: str | None
    ) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        try:
            target = self._route.router.find(name, version)
            body = await read_body(headers, receive, self._route.max_body_bytes)
            answer = await self._route.answer(target, read_headers(headers), body, receive)
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets an answer and the log the rest
            status, found, body = problems.render(scope["path"], error)
            shown = [(key.encode(), value.encode()) for key, value in found.items()]
            await respond(send, status, shown, body)
            return
        await respond(send, 200, answer_headers(answer), answer.body)


def read_headers(headers: Mapping[bytes, bytes]) -> Said:
    """What of a request's headers is asked for."""
    encoding, timeout = headers.get(b"content-encoding"), headers.get(b"request-timeout-ms")
    length = headers.get(b"inference-header-content-length")
    return Said(
        None if encoding is None else encoding.decode("latin-1"),
        None if length is None else length.decode("latin-1"),
        None if timeout is None else timeout.decode("latin-1"),
    )


def answer_headers(answer: Answer) -> list[tuple[bytes, bytes]]:
    """The headers of a good answer, without the length of its body."""
    identified = (b"prediction-id", answer.prediction_id.encode())
    if answer.header_length is None:
        return [identified, (b"content-type", JSON)]
    length = (b"inference-header-content-length", b"%d" % answer.header_length)
    return [identified, (b"content-type", BINARY), length]


async def read_body(headers: Mapping[bytes, bytes], receive: Any, most: int) -> bytes:
    """The whole body. Raises TooLarge as soon as it is known to be, ClientGone when it does not come."""
    length = headers.get(b"content-length", b"0")
    if length.isdigit() and int(length) > most:
        raise TooLarge(f"the body has {int(length)} bytes, the limit is {most}")
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        first: bytes = message["body"]
        if len(first) > most:
            raise TooLarge(f"the body has {len(first)} bytes, the limit is {most}")
        return first
    parts = bytearray()
    while message["type"] == "http.request":
        parts += message.get("body", b"")
        if len(parts) > most:
            raise TooLarge(f"the body has more than {len(parts) - 1} bytes, the limit is {most}")
        if not message.get("more_body"):
            return bytes(parts)
        message = await receive()
    raise ClientGone("the client closed the connection before its body was complete")


async def respond(send: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    """Send a whole response."""
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def check_encoding(encoding: str) -> None:
    """Bodies are taken as they are."""
    if encoding != "identity":
        raise UnsupportedMedia(
            f"Content-Encoding '{encoding[:40]}' is not supported, send the body as it is"
        )
