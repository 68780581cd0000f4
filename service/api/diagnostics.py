"""Statistics, and the protocol's trace and log settings, which tell what is true: both stay as the service was started.

Nor is there shared memory: whoever asks for some is told so.
"""

from typing import Any

from litestar import Controller, HttpMethod, Request, get, post, route
from litestar.di import NamedDependency
from litestar.params import FromPath

from models.errors import InputError
from service import statistics
from service.api.access import CHANGE
from service.api.bodies import read_json
from service.api.telemetry import tracing
from service.errors import Unsupported
from service.link import Link
from service.routing import Router
from service.settings import Settings

TRACE_WORDS = (
    "trace_level",
    "trace_rate",
    "trace_count",
    "log_frequency",
    "trace_file",
    "trace_mode",
)

SHARED_MEMORY = "shared memory is not supported, send tensors in the request"

AnyRequest = Request[Any, Any, Any]


class Diagnostics(Controller):
    """What happened to requests, and what is written down of them."""

    path = "/v2"
    tags = ("open inference protocol",)

    @get("/models/stats", summary="Statistics of every version")
    async def all_statistics(
        self, router: NamedDependency[Router], link: NamedDependency[Link]
    ) -> dict[str, Any]:
        """Counts and times of every front end and engine, added up."""
        return await model_statistics(router, link)

    @get(
        ["/models/{name:str}/stats", "/models/{name:str}/versions/{version:str}/stats"],
        summary="Statistics of a model",
    )
    async def statistics(
        self,
        router: NamedDependency[Router],
        link: NamedDependency[Link],
        name: FromPath[str],
        version: FromPath[str | None] = None,
    ) -> dict[str, Any]:
        """As those of every version."""
        return await model_statistics(router, link, name, version)

    @get("/trace/setting", summary="Trace settings", sync_to_thread=False)
    def trace(self, settings: NamedDependency[Settings]) -> dict[str, Any]:
        """Off, or what OpenTelemetry is told."""
        return trace_settings(settings)

    @get(
        "/models/{name:str}/trace/setting", summary="A model's trace settings", sync_to_thread=False
    )
    def model_trace(
        self,
        router: NamedDependency[Router],
        settings: NamedDependency[Settings],
        name: FromPath[str],
    ) -> dict[str, Any]:
        """Those of every model."""
        router.target(name)
        return trace_settings(settings)

    @post("/trace/setting", status_code=200, opt=CHANGE, summary="Change trace settings")
    async def set_trace(
        self, request: AnyRequest, settings: NamedDependency[Settings]
    ) -> dict[str, Any]:
        """They can only be left as they are."""
        return change_trace(settings, read_json(await request.body(), dict[str, Any]))

    @post(
        "/models/{name:str}/trace/setting",
        status_code=200,
        opt=CHANGE,
        summary="Change a model's trace settings",
    )
    async def set_model_trace(
        self,
        request: AnyRequest,
        router: NamedDependency[Router],
        settings: NamedDependency[Settings],
        name: FromPath[str],
    ) -> dict[str, Any]:
        """They can only be left as they are."""
        router.target(name)
        return change_trace(settings, read_json(await request.body(), dict[str, Any]))

    @get("/logging", summary="Log settings", sync_to_thread=False)
    def log(self, settings: NamedDependency[Settings]) -> dict[str, Any]:
        """What is logged, as `log_level` says."""
        return log_settings(settings)

    @post("/logging", status_code=200, opt=CHANGE, summary="Change log settings")
    async def set_log(
        self, request: AnyRequest, settings: NamedDependency[Settings]
    ) -> dict[str, Any]:
        """They can only be left as they are."""
        return change_log(settings, read_json(await request.body(), dict[str, Any]))

    @route(
        [f"/{kind}sharedmemory/{{rest:path}}" for kind in ("system", "cuda")],
        http_method=(HttpMethod.GET, HttpMethod.POST),
        include_in_schema=False,
        sync_to_thread=False,
    )
    def shared_memory(self, rest: FromPath[str]) -> None:
        """Refused."""
        raise Unsupported(SHARED_MEMORY)


async def model_statistics(
    router: Router, link: Link, name: str | None = None, version: str | None = None
) -> dict[str, Any]:
    """Those of every version that is served, of `name` or of its `version`. NotFound where there is none such."""
    targets = router.table.targets
    if name is not None:
        wanted = router.find(name, version)
        among = [target for target in targets if target.model == name]
        targets = tuple(among) if version is None else (wanted,)
    counted = {(one["name"], one["version"]): one for one in await link.ask("statistics", {})}
    return {
        "model_stats": [
            counted.get((t.model, str(t.version))) or statistics.entry(t.model, str(t.version), {})
            for t in targets
        ]
    }


def trace_settings(settings: Settings) -> dict[str, list[str] | str]:
    """What is traced, in the protocol's words: one of `trace_rate` requests, where the settings and not the environment say how many."""
    if not tracing(settings):
        return {"trace_level": ["OFF"]}
    told: dict[str, list[str] | str] = {
        "trace_level": ["TIMESTAMPS"],
        "trace_mode": "opentelemetry",
    }
    if settings.trace_share:
        told["trace_rate"] = str(round(1 / settings.trace_share))
    return told


def change_trace(settings: Settings, wanted: dict[str, Any]) -> dict[str, list[str] | str]:
    """The settings, if nothing but those is asked for. InputError for unknown ones, Unsupported otherwise."""
    now = trace_settings(settings)
    check_words(wanted, TRACE_WORDS)
    for name, value in wanted.items():
        same = value in (None, []) or listed(value) == listed(now.get(name, []))
        if not same:
            raise Unsupported(
                f"tracing cannot be switched on or changed while the service runs: '{name}' has no effect"
            )
    return now


def listed(value: Any) -> list[str]:
    """A setting's value as gRPC has them all: a list of words."""
    return [str(one) for one in value] if isinstance(value, list) else [str(value)]


def log_settings(settings: Settings) -> dict[str, Any]:
    """The log level in the protocol's words. Lines are JSON on stderr."""
    level = ("error", "warning", "info", "debug").index(settings.log_level)
    return {
        "log_file": "",
        "log_info": level >= 2,
        "log_warning": level >= 1,
        "log_error": True,
        "log_verbose_level": int(level >= 3),
        "log_format": "json",
    }


def change_log(settings: Settings, wanted: dict[str, Any]) -> dict[str, Any]:
    """The settings, if nothing but those is asked for. InputError for unknown ones, Unsupported otherwise."""
    now = log_settings(settings)
    check_words(wanted, tuple(now))
    for name, value in wanted.items():
        if value is not None and (type(value), value) != (type(now[name]), now[name]):
            raise Unsupported(
                f"'{name}' is {now[name]!r} and stays so while the service runs; the setting log_level decides at its start"
            )
    return now


def check_words(wanted: dict[str, Any], known: tuple[str, ...]) -> None:
    """Raise InputError for a setting that the protocol does not know."""
    if unknown := next((name for name in wanted if name not in known), None):
        raise InputError(f"there is no setting '{unknown[:80]}', known are {', '.join(known)}")
