"""POST /v1/models/{name}/predict: an image, texts or series in, labels with probabilities out."""

import time
from typing import Any

import msgspec
from litestar import Controller, Request, Response, post
from litestar.datastructures import UploadFile
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.types import HTTPReceiveMessage

from models import tasks
from models.errors import InputError, Malformed
from service.api import compression
from service.api.access import ASK
from service.api.bodies import read_json
from service.api.connection import read_timeout, unless_gone
from service.api.infer import InferRoute
from service.errors import UnsupportedMedia
from service.predictor import Predictor
from service.routing import Router, Target
from service.settings import Settings

IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp")

AnyRequest = Request[Any, Any, Any]


class Predicted(msgspec.Struct):
    """The answer: one prediction per item, in order; `prediction_id` is what labels refer to later."""

    prediction_id: str
    model: str
    version: int
    predictions: list[tasks.Prediction]
    timings_ms: dict[str, float]


class Texts(msgspec.Struct, forbid_unknown_fields=True):
    """{"text": "..."} or {"texts": ["...", ...]}."""

    text: str | None = None
    texts: list[str] | None = None


class Series(msgspec.Struct, forbid_unknown_fields=True):
    """{"series": [[...], ...]}, time x channels, or a list of such."""

    series: list[list[float | list[float]]]


class Predictions(Controller):
    """Tasks over HTTP, for people."""

    path = "/v1/models/{name:str}"
    tags = ("predictions",)

    @post("/predict", status_code=200, opt=ASK, summary="Classify images, texts or series")
    async def predict(
        self,
        request: AnyRequest,
        name: FromPath[str],
        router: NamedDependency[Router],
        predictor: NamedDependency[Predictor],
        settings: NamedDependency[Settings],
        route: NamedDependency[InferRoute],
    ) -> Response[Predicted]:
        """The raw body is an image (or multipart with one or more `file` parts), or JSON: `text`, `texts` or `series`.

        It may be gzip or deflate (`Content-Encoding`). `Request-Timeout-Ms` shortens the deadline.
        """
        sent = b"".join([part async for part in request.stream()])
        # Chosen only now: while a slow body came, another version may have taken the place of the one that answered.
        target = router.target(name)
        if router.canaries:
            target = router.divert(target, lambda: route.callers.of_request(request))
        with predictor.counted(target, "v1"):
            timeout = read_timeout(request.headers.get("request-timeout-ms"))
            plain = await unpacked(request, sent, settings.max_body_bytes)
            items = await read_items(plain, target, router.opened(target).manifest.task)
            terms = predictor.terms(time.monotonic(), timeout)
            outcome = await unless_gone(request.receive, predictor.predict(target, items, terms))
        body = Predicted(
            outcome.prediction_id, name, target.version, outcome.predictions, outcome.timings_ms
        )
        headers = {"Prediction-Id": outcome.prediction_id}
        if settings.server_timing:
            headers["Server-Timing"] = ", ".join(
                f"{name};dur={ms:.3f}" for name, ms in outcome.timings_ms.items()
            )
        return Response(body, headers=headers)


async def unpacked(request: AnyRequest, sent: bytes, most: int) -> AnyRequest:
    """The request as if its body, `sent`, had not been compressed. UnsupportedCoding, TooLarge beyond `most` bytes, or Malformed."""
    coding = request.headers.get("content-encoding")
    body = sent if coding is None else await compression.unpacked(sent, coding, most)

    async def receive() -> HTTPReceiveMessage:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(request.scope, receive, request.send)


async def read_items(request: AnyRequest, target: Target, task: tasks.Task) -> list[object]:
    """The items in the body. UnsupportedMedia when its type is none that the task takes, InputError when it cannot be read."""
    if isinstance(task, tasks.TensorTask):
        raise InputError(
            f"'{target.model}' takes tensors, of which only POST /v2/models/{target.model}/infer knows what to make"
        )
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if isinstance(task, tasks.ImageTask):
        if kind == "multipart/form-data":
            return await read_files(request)
        if kind not in IMAGE_TYPES:
            raise UnsupportedMedia(
                f"'{target.model}' takes {', '.join(IMAGE_TYPES)} or multipart/form-data, not '{kind or 'no type'}'"
            )
        return [await request.body()]
    if kind != "application/json":
        raise UnsupportedMedia(
            f"'{target.model}' takes application/json, not '{kind or 'no type'}'"
        )
    body = await request.body()
    return read_texts(body) if isinstance(task, tasks.TextTask) else read_series(body)


async def read_files(request: AnyRequest) -> list[object]:
    """Every `file` part of a multipart body."""
    try:
        form = await request.form()
    except LookupError as error:  # a charset that nobody knows
        raise Malformed(f"the multipart body cannot be read: {error}") from error
    files = [part for part in form.getall("file", []) if isinstance(part, UploadFile)]
    if not files:
        raise InputError("the multipart body has no part named 'file' that is a file")
    return [await file.read() for file in files]


def read_texts(body: bytes) -> list[object]:
    """{"text"} or {"texts"}, exactly one."""
    texts = read_json(body, Texts)
    if (texts.text is None) == (texts.texts is None):
        raise InputError("the body needs either 'text' (a string) or 'texts' (a list of strings)")
    return [texts.text] if texts.texts is None else list(texts.texts)


def read_series(body: bytes) -> list[object]:
    """{"series"}: one series, or several."""
    series = read_json(body, Series).series
    if not series:
        raise InputError("'series' is empty")
    several = bool(series[0]) and isinstance(series[0][0], list)
    return list(series) if several else [series]
