"""Probes and the metrics page."""

from typing import Any

from litestar import Controller, HttpMethod, Request, Response, get, route
from litestar.di import NamedDependency

from service.api.access import PROBE
from service.errors import Unavailable
from service.link import Link
from service.routing import Router, Table

PROBING = (HttpMethod.GET, HttpMethod.HEAD)
"""Load balancers probe with HEAD as well."""
EXPOSITION = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Health(Controller):
    """Whether to send requests here, and what happened to those that came."""

    path = "/"
    tags = ("operations",)

    @route(
        "/v2/health/live",
        http_method=PROBING,
        opt=PROBE,
        summary="Is the process there?",
        sync_to_thread=False,
    )
    def live(self) -> dict[str, bool]:
        """True while the process answers at all, also while it drains: a restart would only lose requests."""
        return {"live": True}

    @route(
        "/v2/health/ready",
        http_method=PROBING,
        opt=PROBE,
        summary="Should requests be sent here?",
        sync_to_thread=False,
    )
    def ready(self, router: NamedDependency[Router]) -> Response[dict[str, bool | str]]:
        """True once every model has been loaded, and until the service drains."""
        if (why := unready(router.table)) is None:
            return Response({"ready": True})
        return Response({"ready": False, "error": why}, status_code=503)

    @get("/metrics", media_type=EXPOSITION, summary="Prometheus metrics")
    async def metrics(
        self, request: Request[Any, Any, Any], link: NamedDependency[Link]
    ) -> Response[bytes]:
        """The counts of every process of this machine, whichever front end is asked; as OpenMetrics, with exemplars, where `Accept` says so."""
        asked = "application/openmetrics-text" in request.headers.get("accept", "")
        page = await link.ask("metrics", {"openmetrics": asked})
        if not isinstance(page, bytes):
            raise Unavailable("control gave no metrics")
        return Response(page, media_type=OPENMETRICS if asked else EXPOSITION)


def unready(table: Table) -> str | None:
    """Why no requests should be sent here, None where they should."""
    if table.draining:
        return "the service is shutting down"
    failed = [
        f"{t.model}/{t.version}: {t.reason}"
        for t in table.targets
        if t.state == "failed" and table.champions.get(t.model) == t.version
    ]
    if failed or not table.ready:
        return "; ".join(failed) or "models are loading"
    return None
