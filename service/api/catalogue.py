"""GET /v1/models: what is served, how good it is, and on what it runs."""

from typing import Any

import msgspec
from litestar import Controller, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from models import bundle
from service.errors import Unavailable
from service.link import Link
from service.monitoring.account import Brief
from service.routing import Router, Split, Target


class VersionView(msgspec.Struct):
    """One version: `report` is what its engine says (variant, device with nodes per provider, limits)."""

    version: int
    state: str
    reason: str | None
    report: dict[str, Any]
    metrics: dict[str, bundle.Metric] = {}
    variants: tuple[bundle.Variant, ...] = ()


class ModelView(msgspec.Struct):
    """One model. `aliases` maps champion, and in the view of one model previous and others, to versions.

    `canary` and `shadow` say who gets requests beside the champion and what came of it, `note` what was last done to them without
    being asked; `history` are the last changes of who answers, oldest first. `drift`: the champion's traffic and labels, where it is
    loaded and asked for by its name. `retrainable`: whether it can be trained again here, and in `retraining` why not, and the job that is under
    way; null where that cannot be told now.
    """

    name: str
    task: str | None
    description: str | None
    labels: tuple[str, ...]
    aliases: dict[str, int]
    versions: list[VersionView]
    canary: dict[str, Any] | None = None
    shadow: dict[str, Any] | None = None
    note: str | None = None
    history: list[dict[str, Any]] = []
    drift: Brief | None = None
    retrainable: bool | None = None
    retraining: dict[str, Any] | None = None


class Catalogue(Controller):
    """The models, for people and dashboards."""

    path = "/v1/models"
    tags = ("models",)

    @get("/", summary="Every model", sync_to_thread=False)
    def models(self, router: NamedDependency[Router]) -> list[ModelView]:
        """Every model with its versions."""
        return [view(router, name) for name in router.models()]

    @get("/{name:str}", summary="One model")
    async def model(
        self, router: NamedDependency[Router], link: NamedDependency[Link], name: FromPath[str]
    ) -> ModelView:
        """Versions, aliases, held-out metrics, device report, traffic and history of one model, loaded or not."""
        (told,) = (await link.ask("lifecycle", {"model": name}))["models"]
        model = whole(router, told)
        model.drift = msgspec.convert(await link.ask("brief", {"model": name}), Brief | None)
        await tell_retraining(link, model)
        return model


async def tell_retraining(link: Link, model: ModelView) -> None:
    """Whether it can be trained again; where the ledger is away the page has to do without."""
    try:
        told = await link.ask("retrainable", {"model": model.name})
    except Unavailable:
        return
    model.retrainable = told["retrainable"]
    model.retraining = {name: value for name, value in told.items() if name != "retrainable"}


def view(router: Router, name: str) -> ModelView:
    """One model as it stands in the routing table."""
    champion = router.models().get(name)
    targets = [target for target in router.table.targets if target.model == name]
    manifest = next((declared(router, one) for one in targets if one.version == champion), None)
    split = router.table.splits.get(name, Split())
    return ModelView(
        name,
        type(manifest.task).__struct_config__.tag if manifest else None,  # type: ignore[arg-type]
        manifest.description if manifest else None,
        manifest.labels if manifest else (),
        {} if champion is None else {"champion": champion},
        [version_view(router, target) for target in targets],
        msgspec.to_builtins(split.canary),
        msgspec.to_builtins(split.shadow),
    )


def whole(router: Router, told: dict[str, Any]) -> ModelView:
    """One model as control tells it, with what its loaded versions declare."""
    seen = view(router, told["name"])
    loaded = {one.version: one for one in seen.versions}
    seen.versions = [
        loaded.get(one["version"]) or VersionView(one["version"], one["state"], one["reason"], {})
        for one in told["versions"]
    ]
    if told["champion"] is not None:  # who answers here, whatever the registry says
        seen.aliases = told["aliases"] | {"champion": told["champion"]}
    else:
        seen.aliases = told["aliases"]
    seen.canary, seen.shadow = told["canary"], told["shadow"]
    seen.note, seen.history = told["note"], told["history"]
    return seen


def version_view(router: Router, target: Target) -> VersionView:
    """One version; what it declares is there once it could be read."""
    seen = VersionView(target.version, target.state, target.reason, target.report)
    if manifest := declared(router, target):
        seen.metrics, seen.variants = manifest.metrics, manifest.variants
    return seen


def declared(router: Router, target: Target) -> bundle.Manifest | None:
    """The manifest, unless the bundle is too damaged to have one."""
    return router.opened(target).manifest if router.has_opened(target) else None
