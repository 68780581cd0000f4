"""What Evergreen's front end is compared with: servers that read the same body and answer a constant, each a process of its own.

    bare      uvicorn, and an application that does nothing else
    litestar  a handler of Evergreen's own Litestar application, on the same uvicorn
    hot       Evergreen's hot route with nothing behind it

`python -m loadtests.overhead.standins KIND PORT CONSTANTS`. Event loop, parser and garbage collector are set as in Evergreen's
front end, so that what differs is the work.
"""

import functools
import gc
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec
import uvicorn
import uvloop
from litestar import Request, Response, post
from litestar.handlers import HTTPRouteHandler
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from loadtests.compare.contenders import ROOT, Contender, Job
from service.api.hot import HotProtocol
from service.api.infer import Answer, InferRoute, Said, answer_headers
from service.api.telemetry import Telemetry
from service.app import create_app
from service.routing import Target
from service.settings import Settings

KINDS = ("bare", "litestar", "hot")
CONSTANTS = "constants"
"""The file in a job's scratch folder that holds the answers."""
PATHS = {"hot": "/v2/models/{name}/infer"}
OTHER_PATHS = "/constant/{name}"

Constants = Mapping[str, Answer]
"""Evergreen's own answer by the form of the request."""


def contender(kind: str) -> Contender:
    """A stand-in as something that `compare.serving` starts; in its path the form takes the place of a model's name."""
    return Contender(
        kind,
        (),
        functools.partial(command, kind),
        PATHS.get(kind, OTHER_PATHS),
        environ=lambda job: {"PYTHONPATH": str(ROOT)},
    )


def command(kind: str, job: Job) -> list[str]:
    """This file as a program."""
    constants = str(job.scratch / CONSTANTS)
    return [sys.executable, "-m", "loadtests.overhead.standins", kind, str(job.port), constants]


def write(path: Path, constants: Constants) -> None:
    """The answers for a stand-in to read."""
    path.write_bytes(msgspec.msgpack.encode(constants))


def read(path: Path) -> dict[str, Answer]:
    """What `write` wrote."""
    return msgspec.msgpack.decode(path.read_bytes(), type=dict[str, Answer])


class Bare:
    """An ASGI application that reads the body and answers a constant, its messages made once."""

    def __init__(self, constants: Constants) -> None:
        self._messages = {
            OTHER_PATHS.format(name=form): (start(answer), body(answer))
            for form, answer in constants.items()
        }

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request."""
        parts, more = [], True
        while more:
            message = await receive()
            parts.append(message.get("body", b""))
            more = message.get("more_body", False)
        b"".join(parts)
        for message in self._messages[scope["path"]]:
            await send(message)


def start(answer: Answer) -> dict[str, Any]:
    """The first message of an answer: its headers are those of Evergreen, so that as many bytes leave."""
    length = (b"content-length", b"%d" % len(answer.body))
    headers = [*answer_headers(answer), length]
    return {"type": "http.response.start", "status": 200, "headers": headers}


def body(answer: Answer) -> dict[str, Any]:
    """The second."""
    return {"type": "http.response.body", "body": answer.body}


class ConstantRoute(InferRoute):
    """The hot route where nothing is parsed, asked or encoded."""

    def __init__(self, constants: Constants, max_body_bytes: int) -> None:
        self.max_body_bytes = max_body_bytes
        self.allowed = None
        self.telemetry = Telemetry(Settings())
        self._constants = constants

    def find(self, name: str, version: str | None, client: object = None) -> Target:
        """The form, in the place of a model."""
        return Target(name, 1, "", "ready")

    async def answer(self, target: Target, said: Said, body: bytes) -> Answer:
        """The constant."""
        return self._constants[target.model]


def handler(form: str, answer: Answer) -> HTTPRouteHandler:
    """A Litestar handler with a path of its own."""
    found = answer_headers(answer)
    headers = {key.decode(): value.decode() for key, value in found if key != b"content-type"}
    media_type = dict(found)[b"content-type"].decode()

    @post(OTHER_PATHS.format(name=form), status_code=200, include_in_schema=False)
    async def constant(request: Request[Any, Any, Any]) -> Response[bytes]:
        await request.body()
        return Response(answer.body, media_type=media_type, headers=headers)

    return constant


def build(kind: str, constants: Constants) -> tuple[Any, Any]:
    """(application, HTTP protocol). Without its lifespan Evergreen's application needs no control process."""
    settings = Settings()
    if kind == "bare":
        return Bare(constants), HttpToolsProtocol
    app, _, entrance = create_app(settings, "nobody")
    if kind == "hot":
        route = ConstantRoute(constants, settings.max_body_bytes)
        return app, functools.partial(HotProtocol, route, entrance.connections)
    for form, answer in constants.items():
        app.register(handler(form, answer))
    return app, HttpToolsProtocol


def main() -> None:
    """Serve until SIGTERM."""
    kind, port, constants = sys.argv[1], int(sys.argv[2]), read(Path(sys.argv[3]))
    app, protocol = build(kind, constants)
    config = uvicorn.Config(
        app,
        port=port,
        http=cast(Any, protocol),
        proxy_headers=False,
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
    )
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    uvloop.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main()
