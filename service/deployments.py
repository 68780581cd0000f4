"""Which versions run: an engine for each, kept running, and where it can be reached. It must not know HTTP or front ends.

registry -> Deployment (supervisor -> engine process) -> Target in the routing table
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from models.registry import Registry
from service import triton
from service.engine import cores
from service.engine.client import EngineClient
from service.engine.config import Config, Gpu, Options
from service.engine.supervisor import Supervisor
from service.errors import EngineLost, SettingsError
from service.metrics import ControlMetrics
from service.routing import Target
from service.settings import ModelSettings, Settings, plain
from service.snapshots import Totals

log = logging.getLogger(__name__)

SCRAPE_SECONDS = 1.0
"""An engine that takes longer to tell its counts is left with those it told last."""

PROVIDERS = ("tensorrt", "cuda", "cpu")

_sockets = itertools.count(1)


class Deployment:
    """One version with its engine. Every start of the engine listens on a socket of its own."""

    def __init__(
        self,
        model: str,
        version: int,
        directory: Path,
        options: Options,
        runtime: Path,
        on_change: "Callable[[Deployment], None]",
    ) -> None:
        self.model = model
        self.version = version
        self.directory = directory
        self.socket: Path | None = None
        self._options = options
        self._runtime = runtime
        self.supervisor = Supervisor(f"{model}/{version}", self._command, lambda _: on_change(self))

    def target(self) -> Target:
        """This version as the routing table tells it."""
        state = self.supervisor.state
        if state == "starting" and self.supervisor.restarts:
            state = "stopped"  # not its first start: say "lost", not "loading"
        return Target(
            self.model,
            self.version,
            str(self.directory),
            state,
            str(self.socket) if state == "ready" else None,
            self.supervisor.reason,
            self.supervisor.report,
        )

    def _command(self, lifeline: int) -> list[str]:
        # Short on purpose: a unix socket's path ends at 108 bytes.
        self.socket = self._runtime / f"{next(_sockets)}.sock"
        config = Config(
            self.model, self.version, str(self.directory), str(self.socket), lifeline, self._options
        )
        return ["service.engine.worker", msgspec.json.encode(config).decode()]


class Deployments:
    """All versions that this machine runs. `on_change` is called whenever a target differs from before."""

    def __init__(
        self, settings: Settings, runtime: Path, on_change: Callable[[Deployment], None]
    ) -> None:
        self.metrics = ControlMetrics()
        self._settings = settings
        self._runtime = runtime
        self._on_change = on_change
        self._deployments: dict[tuple[str, int], Deployment] = {}
        self._shown: dict[tuple[str, str], tuple[str, ...]] = {}
        self._restarts: dict[tuple[str, int], int] = {}

    def start(self) -> None:
        """Start the champion of every model that the settings name. BundleError when there is no such model."""
        settings = self._settings
        registry = Registry([settings.repository], settings.state / "registry")
        names = list(dict.fromkeys(settings.serve)) or registry.models()
        if not names:
            raise SettingsError(f"there are no models in {settings.repository}")
        known = {plain(name) for name in registry.models()}
        if unknown := sorted(settings.models.keys() - known):
            raise SettingsError(
                f"there are settings for '{unknown[0]}', the models are {', '.join(registry.models())}"
            )
        # All of them first: a mistake in the settings of one must not be found while others load.
        found = [registry.resolve(name, settings.model(name).version) for name in names]
        told = [
            options_of(name, settings, len(names), directory.parent)
            for name, (_, directory) in zip(names, found, strict=True)
        ]
        for name, (version, directory), options in zip(names, found, told, strict=True):
            deployment = Deployment(
                name, version, directory.resolve(), options, self._runtime, self._changed
            )
            self._deployments[name, version] = deployment
            deployment.supervisor.start()

    async def settled(self) -> None:
        """Wait until every version has been loaded once, or has failed to."""
        await asyncio.gather(*(d.supervisor.settled.wait() for d in self._deployments.values()))

    def __iter__(self) -> Iterator[Deployment]:
        return iter(self._deployments.values())

    async def collect(self, totals: Totals) -> None:
        """Bring the engines' metrics up to date; one that has just ended keeps its last figures."""
        alive = {
            str(d.socket): d for d in self._deployments.values() if d.supervisor.state == "ready"
        }

        async def ask(socket: str) -> None:
            try:
                client = await EngineClient.connect(socket, SCRAPE_SECONDS)
            except (OSError, EngineLost):
                log.warning("an engine did not give its metrics", extra={"socket": socket})
                return
            try:
                totals.update(socket, await asyncio.wait_for(client.stats(), SCRAPE_SECONDS))
            except (EngineLost, TimeoutError):
                log.warning("an engine did not give its metrics", extra={"socket": socket})
            finally:
                client.close()

        await asyncio.gather(*map(ask, alive))
        for source in totals.sources():
            if source.endswith(".sock") and source not in alive:
                totals.retire(source)

    async def stop(self, grace: float) -> None:
        """Let every engine answer what it has accepted, then end it."""
        await asyncio.gather(*(d.supervisor.stop(grace) for d in self._deployments.values()))

    def _changed(self, deployment: Deployment) -> None:
        supervisor, labels = deployment.supervisor, (deployment.model, str(deployment.version))
        self.metrics.ready.labels(*labels).set(supervisor.state == "ready")
        seen = self._restarts.get((deployment.model, deployment.version), 0)
        self.metrics.restarts.labels(*labels).inc(supervisor.restarts - seen)
        self._restarts[deployment.model, deployment.version] = supervisor.restarts
        if supervisor.state == "ready":
            device = supervisor.report["device"]
            if shown := self._shown.get(labels):
                self.metrics.device.remove(*shown)
            runs = (*labels, device["requested"], device["provider"], supervisor.report["variant"])
            self.metrics.device.labels(*runs).set(1)
            self._shown[labels] = runs
            for provider in PROVIDERS:
                self.metrics.nodes.labels(*labels, provider).set(device["nodes"].get(provider, 0))
            self.metrics.fallback.labels(*labels).set(
                device["requested"] not in ("auto", device["provider"])
            )
        level = logging.ERROR if supervisor.state == "failed" else logging.INFO
        log.log(
            level,
            "engine " + supervisor.state,
            extra={
                "model": deployment.model,
                "version": deployment.version,
                "pid": supervisor.pid,
                "reason": supervisor.reason,
            },
        )
        self._on_change(deployment)


def options_of(
    name: str, settings: Settings, models: int, directory: Path | None = None
) -> Options:
    """How one of `models` models is run, by the settings and the config.pbtxt in its `directory`, if there is one.

    SettingsError where the settings cannot be kept here, BundleError where the file is malformed.
    """
    own = settings.model(name)
    if directory is not None:
        own = triton.beneath(own, directory, cores.available())
    return Options(
        provider=own.provider or settings.provider,
        strict=settings.strict_provider,
        variant=own.variant,
        instances=instances_of(name, own, models),
        threads=own.threads or 1,
        spinning=own.spinning,
        gpu=gpu_of(own, settings),
        max_batch_rows=own.max_batch_rows,
        max_batch_tokens=own.max_batch_tokens,
        max_queue_rows=own.max_queue_rows or 1024,
        max_delay_ms=own.max_delay_ms or 0.0,
        hang_limit_s=own.hang_limit_s,
        curves=str(settings.state.resolve() / "curves"),
        memory_mb=settings.engine_memory_mb,
        max_model_mb=settings.max_model_mb,
    )


def instances_of(name: str, own: ModelSettings, models: int) -> int:
    """Runs at a time on the CPU. SettingsError where the settings ask for more threads than this container has cores."""
    available, threads = cores.available(), own.threads or 1
    instances = own.instances or max(1, available // models // threads)
    if (needed := instances * threads) > available:
        raise SettingsError(
            f"models.{name}: {instances} instances of {threads} threads need {needed} cores, "
            f"this container has {available}"
        )
    return instances


def gpu_of(own: ModelSettings, settings: Settings) -> Gpu:
    """How a GPU is to be used, should one run the model."""
    return Gpu(
        instances=own.instances or 1,
        memory_mb=own.gpu_memory_mb,
        tf32=own.tf32,
        graphs=own.cuda_graphs,
        engines=str(settings.state.resolve() / "tensorrt"),
        most_rows=settings.max_request_rows,
    )
