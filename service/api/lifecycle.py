"""Who answers for a model: promotions, rollback and traffic, for people. Control does it, whichever front end is asked."""

from typing import Annotated, Any

import msgspec
from litestar import Controller, Request, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath

from models.bundle import Version
from service.api.access import CHANGE
from service.api.bodies import read_json
from service.api.repository import LONGER, model_name
from service.link import Link
from service.settings import Settings

AnyRequest = Request[Any, Any, Any]
Words = Annotated[str, msgspec.Meta(max_length=500)]


class Promotion(msgspec.Struct, forbid_unknown_fields=True):
    """`if_champion`: only while this version answers; 412 otherwise. `force`: whatever the comparison with it says."""

    version: Version
    if_champion: Version | None = None
    force: bool = False
    reason: Words = ""
    who: Words = ""


class Rollback(msgspec.Struct, forbid_unknown_fields=True):
    """To the version that answered before."""

    reason: Words = ""
    who: Words = ""


class Share(msgspec.Struct, forbid_unknown_fields=True):
    """A version and how much of the traffic it gets."""

    version: Version
    percent: Annotated[float, msgspec.Meta(ge=0, le=100)]


class Traffic(msgspec.Struct, forbid_unknown_fields=True):
    """What versions beside the champion get; null ends it. A canary answers its share, a shadow sees copies."""

    canary: Share | None = None
    shadow: Share | None = None


class Lifecycle(Controller):
    """Changes of who answers. Each returns the model's state once every front end routes by it."""

    path = "/v1/models/{name:str}"
    tags = ("life cycle",)
    opt = CHANGE

    @post("/promotions", status_code=200, summary="Let another version answer")
    async def promote(
        self,
        request: AnyRequest,
        name: FromPath[str],
        link: NamedDependency[Link],
        settings: NamedDependency[Settings],
    ) -> dict[str, Any]:
        """It is loaded beside the one that answers, compared with it, and takes over; a version that fails never does."""
        model = model_name(name)
        order: Promotion = read_json(await request.body(), Promotion)
        body = {"model": model} | msgspec.to_builtins(order)
        return await asked(link, settings, "promote", body | {"who": order.who or peer(request)})

    @post("/rollback", status_code=200, summary="Back to the version before")
    async def rollback(
        self,
        request: AnyRequest,
        name: FromPath[str],
        link: NamedDependency[Link],
        settings: NamedDependency[Settings],
    ) -> dict[str, Any]:
        """At once, while that version is kept warm; the body may be empty."""
        model, given = model_name(name), await request.body()
        order: Rollback = read_json(given, Rollback) if given.strip() else Rollback()
        body = {"model": model, "reason": order.reason}
        return await asked(link, settings, "rollback", body | {"who": order.who or peer(request)})

    @put("/traffic", summary="Canary and shadow")
    async def traffic(
        self,
        request: AnyRequest,
        name: FromPath[str],
        link: NamedDependency[Link],
        settings: NamedDependency[Settings],
    ) -> dict[str, Any]:
        """Both at once: what is not named ends."""
        model = model_name(name)
        order: Traffic = read_json(await request.body(), Traffic)
        body = {"model": model} | msgspec.to_builtins(order)
        return await asked(link, settings, "traffic", body)


async def asked(link: Link, settings: Settings, what: str, body: dict[str, Any]) -> dict[str, Any]:
    """Control's answer, for which a version may have to be loaded."""
    return dict(await link.ask(what, body, settings.load_timeout_s + LONGER))


def peer(request: AnyRequest) -> str:
    """Where a request comes from, for the history of a model whose changer gave no name."""
    return request.client.host if request.client is not None else "somebody"
