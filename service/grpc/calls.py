"""What each call of the protocol answers: a message in, a message out, errors raised. It must not know how calls travel.

What is described (metadata, statistics, the repository) is what /v2 says, turned into messages.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from google.protobuf import json_format
from tritonclient.grpc import model_config_pb2, service_pb2

from service.api import classification, diagnostics, inference, repository
from service.api.access import as_sent
from service.api.callers import of_grpc
from service.api.entrance import Entrance
from service.api.health import unready
from service.api.infer import server_timing
from service.api.tokens import ADMIN, PREDICT, READ
from service.errors import NotFound, QuotaExceeded, Unavailable
from service.grpc import health, messages
from service.link import Link
from service.predictor import Predictor
from service.routing import Router
from service.settings import Settings
from service.tls import Certificate

SHARED_MEMORY = "shared memory is not supported, send tensors in the message"
UNIMPLEMENTED = {
    "ModelStreamInfer": "streams are not supported, ModelInfer answers each request",
    "SystemSharedMemoryStatus": SHARED_MEMORY,
    "SystemSharedMemoryRegister": SHARED_MEMORY,
    "SystemSharedMemoryUnregister": SHARED_MEMORY,
    "CudaSharedMemoryStatus": SHARED_MEMORY,
    "CudaSharedMemoryRegister": SHARED_MEMORY,
    "CudaSharedMemoryUnregister": SHARED_MEMORY,
}
"""Calls of the protocol that are refused, each with its sentence."""
CHANGES = ("RepositoryModelLoad", "RepositoryModelUnload")
PROBES = ("ServerLive", "ServerReady", "Check")

Metadata = Callable[[], Iterable[tuple[str, str | bytes]] | None]


class Inferred(NamedTuple):
    """A ModelInferResponse, the id of its prediction, and its Server-Timing."""

    message: Any
    prediction_id: str
    timing: str


class Calls:
    """The calls, over the models that `router` reaches."""

    def __init__(
        self,
        settings: Settings,
        router: Router,
        predictor: Predictor,
        entrance: Entrance,
        link: Link,
    ) -> None:
        self._settings = settings
        self._router = router
        self._predictor = predictor
        self._entrance = entrance
        self._link = link

    @property
    def certificate(self) -> Certificate | None:
        """The service's own, where it speaks TLS."""
        return self._entrance.certificate

    def admit(self, name: str, metadata: Metadata, peer: str) -> None:
        """Whether a caller may make the call now. Unauthenticated, Forbidden or QuotaExceeded, by its metadata and its address."""
        if name in PROBES:
            return
        given = as_sent(said(metadata, "authorization"))
        if (quotas := self._entrance.quotas) is not None:
            standing = quotas.ask(given, forwarded(metadata), of_grpc(peer))
            if not standing.allowed:
                raise QuotaExceeded(standing.refusal, standing.again)
        scope = ADMIN if name in CHANGES else PREDICT if name == "ModelInfer" else READ
        self._entrance.access.permit(scope, given)

    def client_of(self, metadata: Metadata, peer: str) -> str:
        """Who asks, for a canary's share: what the client calls itself, else its address."""
        named = said(metadata, "evergreen-client") or ""
        return self._entrance.callers.name(named, forwarded(metadata), (of_grpc(peer),))

    async def server_live(self, request: Any) -> Any:
        """True while the process answers at all, also while it drains."""
        return service_pb2.ServerLiveResponse(live=True)

    async def server_ready(self, request: Any) -> Any:
        """Whether requests should be sent here."""
        return service_pb2.ServerReadyResponse(ready=self._ready())

    async def model_ready(self, request: Any) -> Any:
        """Whether the model answers right now; one that nobody knows does not."""
        try:
            await self._router.hear(self._router.find(request.name, request.version or None))
        except (NotFound, Unavailable):
            return service_pb2.ModelReadyResponse(ready=False)
        return service_pb2.ModelReadyResponse(ready=True)

    async def server_metadata(self, request: Any) -> Any:
        """Name, version and the extensions that work."""
        return message(inference.server_metadata(), service_pb2.ServerMetadataResponse())

    async def model_metadata(self, request: Any) -> Any:
        """Inputs and outputs. NotFound, or Unavailable until the model has been loaded once."""
        target = self._router.find(request.name, request.version or None)
        told = inference.model_metadata(self._router, target)
        return message(told, service_pb2.ModelMetadataResponse())

    async def model_config(self, request: Any) -> Any:
        """The configuration in Triton's words. NotFound, or Unavailable until the model has been loaded once."""
        target = self._router.find(request.name, request.version or None)
        told = inference.model_config(self._router, target, self._settings)
        return service_pb2.ModelConfigResponse(config=message(told, model_config_pb2.ModelConfig()))

    async def model_statistics(self, request: Any) -> Any:
        """Of every version, of a model's or of one. NotFound."""
        told = await diagnostics.model_statistics(
            self._router, self._link, request.name or None, request.version or None
        )
        return message(told, service_pb2.ModelStatisticsResponse())

    async def repository_index(self, request: Any) -> Any:
        """Every version of the repository and its state."""
        told = {"models": await repository.index(self._link, request.ready)}
        return message(told, service_pb2.RepositoryIndexResponse())

    async def repository_load(self, request: Any) -> Any:
        """Load a version; returns once it answers."""
        parameters = read_map(request.parameters)
        await repository.load(self._link, self._settings, request.model_name, parameters)
        return service_pb2.RepositoryModelLoadResponse()

    async def repository_unload(self, request: Any) -> Any:
        """Unload a model or a version; returns once it has answered what it had accepted."""
        parameters = read_map(request.parameters)
        await repository.unload(self._link, self._settings, request.model_name, parameters)
        return service_pb2.RepositoryModelUnloadResponse()

    async def trace_setting(self, request: Any) -> Any:
        """The trace settings, which can only be left as they are."""
        if request.model_name:
            self._router.target(request.model_name)
        wanted = {name: list(one.value) for name, one in request.settings.items()}
        now = diagnostics.change_trace(self._settings, wanted)
        told = {name: {"value": diagnostics.listed(value)} for name, value in now.items()}
        return message({"settings": told}, service_pb2.TraceSettingResponse())

    async def log_settings(self, request: Any) -> Any:
        """The log settings, which can only be left as they are."""
        now = diagnostics.change_log(self._settings, read_map(request.settings))
        fields = {bool: "bool_param", int: "uint32_param", str: "string_param"}
        told = {name: {fields[type(value)]: value} for name, value in now.items()}
        return message({"settings": told}, service_pb2.LogSettingsResponse())

    async def check(self, request: Any) -> Any:
        """grpc.health.v1: the server or one of its services; a model's name stands for the model."""
        services = {
            "": self._ready,
            "inference.GRPCInferenceService": self._ready,
            "readiness": self._ready,
            "liveness": lambda: True,
        }
        return health.check(services, request)

    async def model_infer(
        self, request: Any, remaining: float | None, client: Callable[[], str]
    ) -> Inferred:
        """Run a ModelInferRequest whose caller waits `remaining` more seconds; `client` tells who that is.

        Raises what `api.problems` turns into a status.
        """
        target = self._router.find(request.model_name, request.model_version or None)
        if self._router.canaries and not request.model_version:
            target = self._router.divert(target, client)
        with self._predictor.counted(target, "grpc"):
            received = time.monotonic()
            asked, given = messages.parse(request)
            limits = [limit for limit in (asked.timeout, remaining) if limit is not None]
            terms = self._predictor.terms(received, min(limits, default=None), asked.priority)
            outcome = await self._predictor.infer(target, given, asked.outputs, terms, "grpc")
            outputs = outcome.outputs
            if asked.classes:
                manifest = self._router.opened(target).manifest
                outputs = classification.classified(outputs, asked.classes, manifest)
            told = messages.encode(asked, target.model, target.version, outputs)
            timing = server_timing(outcome.times, time.monotonic() - received)
        return Inferred(told, outcome.prediction_id, timing)

    def _ready(self) -> bool:
        return unready(self._router.table) is None


def message(told: Mapping[str, Any], into: Any) -> Any:
    """`into` with what /v2 tells as JSON; what the message has no field for is left out."""
    return json_format.ParseDict(told, into, ignore_unknown_fields=True)


def read_map(given: Any) -> dict[str, Any]:
    """A map of messages with one of several values each, as plain values; None where one has none."""
    kinds = {name: one.WhichOneof("parameter_choice") for name, one in given.items()}
    return {name: getattr(given[name], kind) if kind else None for name, kind in kinds.items()}


def said(metadata: Metadata, key: str) -> str | None:
    """The first value of a key."""
    found = next((value for name, value in metadata() or () if name == key), None)
    return found.decode("latin-1") if isinstance(found, bytes) else found


def forwarded(metadata: Metadata) -> str:
    """What proxies say of where a call comes from, all of them behind one another."""
    found = (value for name, value in metadata() or () if name == "x-forwarded-for")
    return ",".join(one.decode("latin-1") if isinstance(one, bytes) else one for one in found)
