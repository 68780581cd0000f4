"""The HTTP application of one front end: what is wired to what. It must not know how a request is answered.

create_app(settings, control socket) -> Litestar, whose lifespan opens the link to control and closes it; the infer route, which the front
end's HTTP protocol answers before Litestar is asked; and the entrance, which every connection passes
"""

import asyncio
import importlib.metadata
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from litestar import Litestar
from litestar.di import Provide
from litestar.exceptions import HTTPException

from models.errors import EvergreenError
from service import snapshots
from service.api import problems
from service.api.access import guard
from service.api.catalogue import Catalogue
from service.api.diagnostics import Diagnostics
from service.api.documentation import documentation
from service.api.drift import DriftReports
from service.api.entrance import Entrance
from service.api.feedback import Erasure, Feedback
from service.api.health import Health
from service.api.hooks import Hooks
from service.api.infer import InferRoute
from service.api.inference import Inference
from service.api.lifecycle import Lifecycle
from service.api.predictions import Predictions
from service.api.repository import Repository
from service.api.retrainings import Retrain, Retrainings
from service.api.telemetry import Accompanied, Telemetry
from service.link import Handler, Link
from service.monitoring.observer import Observer
from service.predictor import Predictor
from service.routing import Router
from service.settings import Settings
from service.tallies import FrontEndMetrics

VERSION = importlib.metadata.version("evergreen-serving")
FIRST_TABLE_SECONDS = 30.0


def create_app(settings: Settings, control: str) -> tuple[Litestar, InferRoute, Entrance]:
    """The application, its hot route and its entrance. `control` is the path of control's socket; nothing is opened before the lifespan begins."""
    router = Router()
    counts = FrontEndMetrics()
    observer = Observer(settings)
    counts.registry.register(observer.tally)
    predictor = Predictor(settings, router, counts, observer)
    entrance = Entrance(settings, Path(control).parent)
    counts.registry.register(entrance.counts)
    access, telemetry = entrance.access, Telemetry(settings, entrance.callers)
    entrance.connections.accompanied = lambda application: Accompanied(application, telemetry)
    allowed = access.may_predict if access.protects_all else None
    route = InferRoute(router, predictor, telemetry, settings, allowed, entrance.callers)
    link: Link | None = None

    async def take_table(raw: Any) -> int:
        number = await router.apply(raw)
        counts.keep({(target.model, target.version) for target in router.table.targets})
        return number

    async def give_metrics(_: Any) -> Any:
        return msgspec.to_builtins(snapshots.snapshot(counts.registry))

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        nonlocal link
        handlers: dict[str, Handler] = {
            "route": take_table,
            "metrics": give_metrics,
            "ship": observer.ship,
        }
        link = await Link.connect(control, handlers)
        try:
            # A request before the first table would be told that its model is unknown.
            await asyncio.wait_for(router.routed.wait(), FIRST_TABLE_SECONDS)
            async with (
                telemetry.running(router, counts),
                observer.telling(link.ask, counts.intake),
                entrance.kept(),
                over_grpc(settings, router, predictor, entrance, link, telemetry),
            ):
                yield
        finally:
            router.close()
            link.close()

    def provide_router() -> Router:
        return router

    def provide_predictor() -> Predictor:
        return predictor

    def provide_route() -> InferRoute:
        return route

    def provide_settings() -> Settings:
        return settings

    def provide_link() -> Link:
        assert link is not None  # noqa: S101 - the lifespan has begun before a request comes
        return link

    app = Litestar(
        route_handlers=[
            Health,
            Catalogue,
            Predictions,
            Feedback,
            Erasure,
            DriftReports,
            Lifecycle,
            Retrain,
            Retrainings,
            Hooks,
            Inference,
            Diagnostics,
            Repository,
        ],
        guards=[guard(access)],
        dependencies={
            "router": Provide(provide_router, sync_to_thread=False),
            "route": Provide(provide_route, sync_to_thread=False),
            "predictor": Provide(provide_predictor, sync_to_thread=False),
            "settings": Provide(provide_settings, sync_to_thread=False),
            "link": Provide(provide_link, sync_to_thread=False),
        },
        lifespan=[lifespan],
        # Each by its name: what the framework handles itself would otherwise not get here.
        exception_handlers=dict.fromkeys(
            (EvergreenError, HTTPException, Exception), problems.respond
        ),
        request_max_body_size=settings.max_body_bytes,
        openapi_config=documentation(VERSION),
        logging_config=None,
    )
    return app, route, entrance


@asynccontextmanager
async def over_grpc(
    settings: Settings,
    router: Router,
    predictor: Predictor,
    entrance: Entrance,
    link: Link,
    telemetry: Telemetry,
) -> AsyncIterator[None]:
    """The gRPC server beside the HTTP application, where a port is set for it."""
    if settings.grpc_port is None:
        yield
        return
    # What they need is installed only where it is wanted.
    from service.grpc.calls import Calls
    from service.grpc.server import serving

    async with serving(settings, Calls(settings, router, predictor, entrance, link), telemetry):
        yield
