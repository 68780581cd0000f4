"""GET /v1/models/{name}/drift: whether a model's traffic moved, what moved, and whether it hurts."""

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from service.api.repository import model_name, read_version
from service.link import Link
from service.monitoring.account import Account

PATIENCE = 30.0


class DriftReports(Controller):
    """What is known of a model's traffic."""

    path = "/v1/models/{name:str}"
    tags = ("drift",)

    @get("/drift", summary="Did the traffic move, and does it hurt?")
    async def drift(
        self,
        name: FromPath[str],
        link: NamedDependency[Link],
        version: FromQuery[int | None] = None,
    ) -> Account:
        """Of a version, the champion without one. `verdict` is about the newest window of the traffic; its thresholds hold for independent
        requests. `conclusion` joins it with labels and refused inputs: fine, watch, benign drift, harmful, data fault, or insufficient.
        """
        body = {"model": model_name(name), "version": read_version({"version": version})}
        return msgspec.convert(await link.ask("drift", body, PATIENCE), Account)
