"""POST /v2/models/{name}/infer: what the route means, whoever hears it. It must not know how a request came.

headers + body -> compression -> tensors.parse -> predictor.infer -> classification -> tensors.encode -> compression -> headers + body
"""

import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from service.api import classification, compression, tensors, whole
from service.api.callers import Callers
from service.api.connection import read_timeout
from service.api.telemetry import Telemetry
from service.predictor import Predictor, Times
from service.routing import Router, Target
from service.settings import Settings

JSON, BINARY = b"application/json", b"application/octet-stream"


class Said(NamedTuple):
    """The headers of a request that mean something here."""

    encoding: str | None
    header_length: str | None
    timeout_ms: str | None
    accepted: str | None = None


class Answer(NamedTuple):
    """A good answer: its prediction id, its body, how much of that is JSON where not all is, how it is compressed, and its Server-Timing."""

    prediction_id: str
    body: bytes
    header_length: int | None
    coding: str | None = None
    timing: str | None = None


class InferRoute:
    """The route, for the framework's handler and for `hot`, which stands in front of it.

    `allowed`, if predictions need a token: whether the Authorization header brings one. The framework's own guard refuses.
    """

    def __init__(
        self,
        router: Router,
        predictor: Predictor,
        telemetry: Telemetry,
        settings: Settings,
        allowed: Callable[[bytes | None], bool] | None = None,
        callers: Callers | None = None,
    ) -> None:
        self.telemetry = telemetry
        self.max_body_bytes = settings.max_body_bytes
        self._timed = settings.server_timing
        self.allowed = allowed
        self.callers = callers or Callers()
        self._router = router
        self._predictor = predictor

    async def answer(self, target: Target, said: Said, body: bytes) -> Answer:
        """Run the request in `body` on `target`. Raises what `api.problems` turns into a status."""
        with self._predictor.counted(target, "v2"):
            received = time.monotonic()
            if said.encoding is not None:
                body = await compression.unpacked(body, said.encoding, self.max_body_bytes)
            timeout = read_timeout(said.timeout_ms)
            asked, given = self._parse(target, said.header_length, body)
            if asked.timeout is not None:
                timeout = asked.timeout if timeout is None else min(timeout, asked.timeout)
            terms = self._predictor.terms(received, timeout, asked.priority)
            outcome = await self._predictor.infer(target, given, asked.outputs, terms)
            outputs = outcome.outputs
            if asked.classes:
                manifest = self._router.opened(target).manifest
                outputs = classification.classified(outputs, asked.classes, manifest)
            data, length = tensors.encode(asked, target.model, target.version, outputs)
            coding = None
            if said.accepted is not None and len(data) >= compression.SMALLEST:
                data, coding = await compression.packed(data, said.accepted)
            timing = None
            if self._timed:
                timing = server_timing(outcome.times, time.monotonic() - received)
        return Answer(outcome.prediction_id, data, length, coding, timing)

    def _parse(
        self, target: Target, header_length: str | None, body: bytes
    ) -> tuple[tensors.Asked, dict[str, np.ndarray]]:
        if header_length == "0":
            return whole.parse(body, self._router.opened(target).manifest)
        return tensors.parse(body, header_length)

    def find(self, name: str, version: str | None, client: Callable[[], str]) -> Target:
        """The version that a path names; where it names none, perhaps the canary, by who the `client` is."""
        target = self._router.find(name, version)
        if self._router.canaries and version is None:
            return self._router.divert(target, client)
        return target


def read_headers(headers: Mapping[bytes, bytes]) -> Said:
    """What of a request's headers (lower case) is asked for."""
    encoding, timeout = headers.get(b"content-encoding"), headers.get(b"request-timeout-ms")
    length = headers.get(b"inference-header-content-length")
    accepted = headers.get(b"accept-encoding")
    return Said(
        None if encoding is None else encoding.decode("latin-1"),
        None if length is None else length.decode("latin-1"),
        None if timeout is None else timeout.decode("latin-1"),
        None if accepted is None else accepted.decode("latin-1"),
    )


def answer_headers(answer: Answer) -> list[tuple[bytes, bytes]]:
    """The headers of a good answer, without the length of its body."""
    identified = (b"prediction-id", answer.prediction_id.encode())
    if answer.header_length is None:
        headers = [identified, (b"content-type", JSON)]
    else:
        length = (b"inference-header-content-length", b"%d" % answer.header_length)
        headers = [identified, (b"content-type", BINARY), length]
    if answer.coding is not None:
        headers.append((b"content-encoding", answer.coding.encode()))
    if answer.timing is not None:
        headers.append((b"server-timing", answer.timing.encode()))
    return headers


def server_timing(times: Times, total: float) -> str:
    """The header that browsers and clients show: milliseconds."""
    decode, queue, compute = times
    return (
        f"decode;dur={1e3 * decode:.3f}, queue;dur={1e3 * queue:.3f}, "
        f"compute;dur={1e3 * compute:.3f}, total;dur={1e3 * total:.3f}"
    )
