"""Which versions run: an engine for each, kept running, and where it can be reached. It must not know HTTP, front ends or who answers.

directory -> Deployment (supervisor -> engine process) -> Target in the routing table
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from service import triton
from service.engine import cores
from service.engine.calibration import Sizes
from service.engine.client import EngineClient
from service.engine.config import GENTLY, Config, Gpu, Options
from service.engine.supervisor import Supervisor
from service.errors import EngineLost, Refused, SettingsError
from service.metrics import ControlMetrics
from service.routing import Target
from service.settings import ModelSettings, Settings
from service.snapshots import Totals

log = logging.getLogger(__name__)

SCRAPE_SECONDS = 3.0
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
        self.options = options
        self.stamp = ""
        """What the registry said of its files when it was loaded."""
        self.counted_restarts = 0
        self.compared: tuple[Path | None, Path | None, str] | None = None
        """What its kept rows showed last: of the engine on which socket, beside which champion's files."""
        self._inherited: tuple[Sizes, ...] = ()
        self._gently = False
        self._runtime = runtime
        self.supervisor = Supervisor(f"{model}/{version}", self._command, lambda _: on_change(self))

    @property
    def labels(self) -> tuple[str, str]:
        """Model and version, as metrics name them."""
        return self.model, str(self.version)

    @property
    def ready(self) -> bool:
        """Whether its engine answers, as far as is known."""
        return self.supervisor.state == "ready"

    def beside(self, other: "Deployment | None") -> None:
        """Load without disturbing those that answer, with the batch times of `other` in place of a measurement."""
        self._gently = True
        if other is not None and other.ready:
            curve = other.supervisor.report.get("batching", {}).get("curve", ())
            self._inherited = msgspec.convert(curve, tuple[Sizes, ...], strict=False)

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
            self.model,
            self.version,
            str(self.directory),
            str(self.socket),
            lifeline,
            self.options,
            self._inherited,
        )
        # One that is started again is waited for.
        manner = [GENTLY] if self._gently and not self.supervisor.restarts else []
        return ["service.engine.worker", msgspec.json.encode(config).decode(), *manner]


class Deployments:
    """All versions that this machine runs. `on_change` is called whenever a target differs from before."""

    def __init__(
        self, settings: Settings, runtime: Path, on_change: Callable[[Deployment], None]
    ) -> None:
        self.metrics = ControlMetrics()
        self._settings = settings
        self._runtime = runtime
        self._on_change = on_change
        self._all: dict[Deployment, None] = {}
        self._shown: dict[tuple[str, str], tuple[str, ...]] = {}
        self._loading = asyncio.Semaphore(1)

    def add(self, model: str, version: int, directory: Path, options: Options) -> Deployment:
        """A version, not yet started."""
        resolved = directory.resolve()
        one = Deployment(model, version, resolved, options, self._runtime, self._changed)
        self._all[one] = None
        return one

    async def load(self, one: Deployment) -> None:
        """Start `one`, after whatever else is being loaded; return when it answers. Refused says why it does not; it is gone then."""
        limit = self._settings.load_timeout_s
        try:
            async with self._loading:
                one.supervisor.start()
                async with asyncio.timeout(limit):
                    await one.supervisor.settled.wait()
            if not one.ready:
                raise Refused(
                    f"{one.model}/{one.version} cannot be served: {one.supervisor.reason}"
                )
        except BaseException as error:
            await self.drop(one, 0.0)
            if isinstance(error, TimeoutError):
                raise Refused(
                    f"{one.model}/{one.version} was not ready within {limit:g} s (load_timeout_s)"
                ) from error
            raise

    async def drop(self, one: Deployment, grace: float) -> None:
        """Let its engine answer what it has accepted, end it, and forget it."""
        await one.supervisor.stop(grace)
        self._all.pop(one, None)
        if one.labels not in {other.labels for other in self._all}:
            self._unshow(one.labels)

    def __iter__(self) -> Iterator[Deployment]:
        return iter(list(self._all))

    def labels(self) -> set[tuple[str, str]]:
        """Every version that has a process, as metrics name it."""
        return {one.labels for one in self._all}

    async def collect(self, totals: Totals) -> None:
        """Bring the engines' metrics up to date; one that has just ended keeps its last figures while its version is loaded."""
        alive = {str(one.socket): one for one in self._all if one.ready}

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
        await asyncio.gather(*(one.supervisor.stop(grace) for one in self))

    def _changed(self, one: Deployment) -> None:
        if one in self._all:
            self._show(one)
        supervisor = one.supervisor
        log.log(
            logging.ERROR if supervisor.state == "failed" else logging.INFO,
            "engine " + supervisor.state,
            extra={
                "model": one.model,
                "version": one.version,
                "pid": supervisor.pid,
                "reason": supervisor.reason,
            },
        )
        self._on_change(one)

    def _show(self, one: Deployment) -> None:
        """Bring its metrics up to date."""
        supervisor, labels, metrics = one.supervisor, one.labels, self.metrics
        metrics.ready.labels(*labels).set(one.ready)
        metrics.restarts.labels(*labels).inc(supervisor.restarts - one.counted_restarts)
        one.counted_restarts = supervisor.restarts
        if not one.ready:
            return
        device = supervisor.report["device"]
        if shown := self._shown.get(labels):
            metrics.device.remove(*shown)
        runs = (*labels, device["requested"], device["provider"], supervisor.report["variant"])
        metrics.device.labels(*runs).set(1)
        self._shown[labels] = runs
        for provider in PROVIDERS:
            metrics.nodes.labels(*labels, provider).set(device["nodes"].get(provider, 0))
        metrics.fallback.labels(*labels).set(
            device["requested"] not in ("auto", device["provider"])
        )

    def _unshow(self, labels: tuple[str, str]) -> None:
        """A version that is no longer loaded has no series."""
        self._shown.pop(labels, None)
        for metric in self.metrics.by_version:
            metric.remove_by_labels({"model": labels[0], "version": labels[1]})


def options_of(
    name: str,
    settings: Settings,
    models: int,
    directory: Path | None = None,
    config: Mapping[str, Any] | None = None,
) -> Options:
    """How one of `models` models is run, by the settings and the config.pbtxt in its `directory`, if there is one.

    `config` is a Triton configuration that a caller sent: it wins over both. SettingsError where the settings cannot be kept here,
    BundleError where the file is malformed, InputError where `config` is none.
    """
    own = settings.model(name)
    arranged = triton.arrangement(directory, config)
    if config is not None:
        own = triton.above(own, config, cores.available())
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
        triton=arranged,
        trusted_keys=tuple(str(path.absolute()) for path in settings.trusted_keys),
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
