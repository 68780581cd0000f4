"""GET /v1/models: what is served, how good it is, and on what it runs."""

from typing import Any

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from models import bundle
from service.routing import Router, Target


class VersionView(msgspec.Struct):
    """One version: `report` is what its engine says (variant, device with nodes per provider, limits)."""

    version: int
    state: str
    reason: str | None
    report: dict[str, Any]
    metrics: dict[str, bundle.Metric] = {}
    variants: tuple[bundle.Variant, ...] = ()


class ModelView(msgspec.Struct):
    """One model. `aliases` maps champion (and later challenger, previous) to versions."""

    name: str
    task: str | None
    description: str | None
    labels: tuple[str, ...]
    aliases: dict[str, int]
    versions: list[VersionView]


class Catalogue(Controller):
    """The models, for people and dashboards."""

    path = "/v1/models"
    tags = ("models",)

    @get("/", summary="Every model", sync_to_thread=False)
    def models(self, router: NamedDependency[Router]) -> list[ModelView]:
        """Every model with its versions."""
        return [view(router, name) for name in router.models()]

    @get("/{name:str}", summary="One model", sync_to_thread=False)
    def model(self, router: NamedDependency[Router], name: FromPath[str]) -> ModelView:
        """Versions, aliases, held-out metrics and the device report of one model."""
        return view(router, name)


def view(router: Router, name: str) -> ModelView:
    """One model as it stands in the routing table."""
    champion = router.target(name)
    manifest = declared(router, champion)
    return ModelView(
        name,
        type(manifest.task).__struct_config__.tag if manifest else None,  # type: ignore[arg-type]
        manifest.description if manifest else None,
        manifest.labels if manifest else (),
        {"champion": champion.version},
        [version_view(router, target) for target in router.table.targets if target.model == name],
    )


def version_view(router: Router, target: Target) -> VersionView:
    """One version; what it declares is there once it could be read."""
    seen = VersionView(target.version, target.state, target.reason, target.report)
    if manifest := declared(router, target):
        seen.metrics, seen.variants = manifest.metrics, manifest.variants
    return seen


def declared(router: Router, target: Target) -> bundle.Manifest | None:
    """The manifest, unless the bundle is too damaged to have one."""
    return router.opened(target).manifest if router.has_opened(target) else None
