"""The protocol's model repository: which versions there are, load and unload. Control does it, whichever front end is asked."""

import re
from typing import Any

import msgspec
from litestar import Controller, Request, Response, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from models.bundle import NAME
from models.errors import InputError
from service.api.access import CHANGE
from service.api.bodies import read_json
from service.errors import NotFound
from service.link import Link
from service.settings import Settings

STATES = {
    "ready": "READY",
    "starting": "LOADING",
    "stopped": "LOADING",
    "failed": "UNAVAILABLE",
    "available": "UNAVAILABLE",
}
"""The protocol's word for each state: "stopped" is an engine that is being replaced, "available" a version that nobody has loaded."""
LONGER = 10.0
"""Seconds that control has beside a version's own time to load."""

AnyRequest = Request[Any, Any, Any]
Parameters = dict[str, Any]


class Wanted(msgspec.Struct):
    """The body of an index request."""

    ready: bool = False


class Order(msgspec.Struct):
    """The body of a load or unload request."""

    parameters: Parameters = {}


class Repository(Controller):
    """What tritonclient calls to see and change what is loaded."""

    path = "/v2/repository"
    tags = ("open inference protocol",)

    @post("/index", status_code=200, summary="Every version and its state")
    async def index(self, request: AnyRequest, link: NamedDependency[Link]) -> list[dict[str, str]]:
        """`{"ready": true}` leaves out what does not answer; the body may be empty."""
        body = await request.body()
        wanted = read_json(body, Wanted) if body.strip() else Wanted()
        return await index(link, wanted.ready)

    @post("/models/{name:str}/load", status_code=200, opt=CHANGE, summary="Load a version")
    async def load(
        self,
        request: AnyRequest,
        name: FromPath[str],
        link: NamedDependency[Link],
        settings: NamedDependency[Settings],
    ) -> Response[bytes]:
        """Returns once it answers. `parameters.config` (Triton's configuration as JSON) lies over the model's own;
        `parameters.version` picks one, without it the champion is loaded."""
        await load(link, settings, name, await parameters_of(request))
        return Response(b"", media_type="application/json")

    @post("/models/{name:str}/unload", status_code=200, opt=CHANGE, summary="Unload a model")
    async def unload(
        self,
        request: AnyRequest,
        name: FromPath[str],
        link: NamedDependency[Link],
        settings: NamedDependency[Settings],
    ) -> Response[bytes]:
        """All versions, or `parameters.version`. What they have accepted is answered first."""
        await unload(link, settings, name, await parameters_of(request))
        return Response(b"", media_type="application/json")


async def parameters_of(request: AnyRequest) -> Parameters:
    """The parameters in a body, which may be empty."""
    body = await request.body()
    order: Order = read_json(body, Order) if body.strip() else Order()
    return order.parameters


async def index(link: Link, ready: bool) -> list[dict[str, str]]:
    """Every version of the repository; those that answer, where `ready` says so."""
    entries = [told(one) for one in await link.ask("index", {})]
    return [one for one in entries if not ready or one.get("state") == "READY"]


def told(one: dict[str, Any]) -> dict[str, str]:
    """An entry in the protocol's words: what is not known is left out."""
    words = {"name": one["name"], "version": one["version"], "state": STATES[one["state"]]}
    words["reason"] = one.get("reason")
    return {name: str(word) for name, word in words.items() if word}


async def load(link: Link, settings: Settings, name: str, parameters: Parameters) -> Any:
    """Load a version of `name` and return the model's state. InputError where a parameter cannot be what it is."""
    body = {
        "model": model_name(name),
        "version": read_version(parameters),
        "config": read_config(parameters),
    }
    return await link.ask("load", body, settings.load_timeout_s + LONGER)


async def unload(link: Link, settings: Settings, name: str, parameters: Parameters) -> Any:
    """Unload `name`, or one version of it. No model depends on another here, so `unload_dependents` changes nothing."""
    if not isinstance(parameters.get("unload_dependents", False), bool):
        raise InputError("parameter 'unload_dependents' must be true or false")
    body = {"model": model_name(name), "version": read_version(parameters)}
    return await link.ask("unload", body, settings.drain_timeout_s + LONGER)


def model_name(name: str) -> str:
    """`name`, if a model can have it: no other ever becomes a path. NotFound otherwise."""
    if re.search(NAME, name) is None:
        raise NotFound(f"Request for unknown model: '{name[:80]}' is not found")
    return name


def read_version(parameters: Parameters) -> int | None:
    """`parameters.version`: a number, or one written as text."""
    version = parameters.get("version")
    if version is None:
        return None
    text = str(version)
    number = text.isascii() and text.isdecimal() and len(text) < 10 and int(text) > 0
    if isinstance(version, bool) or not number:
        raise InputError(f"parameter 'version' is {version!r:.40}, an integer was expected")
    return int(text)


def read_config(parameters: Parameters) -> dict[str, Any] | None:
    """`parameters.config`: JSON as text. Files are refused: a model comes in by being published, with its hashes."""
    if file := next((name for name in parameters if name.startswith("file:")), None):
        raise InputError(
            f"parameter '{file[:80]}': files cannot be sent; publish the version in the repository and load it"
        )
    config = parameters.get("config")
    if config is None or config == "":
        return None
    if not isinstance(config, str):
        raise InputError("parameter 'config' must be a string that holds JSON")
    try:
        read = read_json(config.encode(), dict[str, Any])
    except InputError as error:
        raise InputError(f"parameter 'config': {error}") from error
    return dict(read)
