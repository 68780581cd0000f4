"""POST /v2/models/{name}/infer: what the route means, whoever hears it. It must not know how a request came.

headers + body -> tensors.parse -> predictor.infer -> tensors.encode -> headers + body
"""

import time
from collections.abc import Mapping
from typing import NamedTuple

from service.api import tensors
from service.api.connection import read_timeout
from service.errors import UnsupportedMedia
from service.predictor import Predictor
from service.routing import Router, Target

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
    """The route, for the framework's handler and for `hot`, which stands in front of it."""

    def __init__(self, router: Router, predictor: Predictor, max_body_bytes: int) -> None:
        self.max_body_bytes = max_body_bytes
        self._router = router
        self._predictor = predictor

    async def answer(self, target: Target, said: Said, body: bytes) -> Answer:
        """Run the request in `body` on `target`. Raises what `api.problems` turns into a status."""
        with self._predictor.counted(target, "v2"):
            received = time.monotonic()
            if said.encoding is not None:
                check_encoding(said.encoding)
            timeout = read_timeout(said.timeout_ms)
            asked, given = tensors.parse(body, said.header_length)
            if asked.timeout is not None:
                timeout = asked.timeout if timeout is None else min(timeout, asked.timeout)
            terms = self._predictor.terms(received, timeout, asked.priority)
            outcome = await self._predictor.infer(target, given, asked.outputs, terms)
            data, length = tensors.encode(asked, target.model, target.version, outcome.outputs)
        return Answer(outcome.prediction_id, data, length)

    def find(self, name: str, version: str | None) -> Target:
        """The version that a path names."""
        return self._router.find(name, version)


def read_headers(headers: Mapping[bytes, bytes]) -> Said:
    """What of a request's headers (lower case) is asked for."""
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


def check_encoding(encoding: str) -> None:
    """Bodies are taken as they are."""
    if encoding != "identity":
        raise UnsupportedMedia(
            f"Content-Encoding '{encoding[:40]}' is not supported, send the body as it is"
        )
