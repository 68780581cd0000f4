"""What each call of the protocol answers: a message in, a message out, errors raised. It must not know how calls travel.

What is described (metadata, configuration, readiness) is what /v2 says, turned into messages.
"""

import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from google.protobuf import json_format
from tritonclient.grpc import model_config_pb2, service_pb2

from service.api import inference
from service.api.health import unready
from service.errors import NotFound
from service.grpc import health, messages
from service.predictor import Predictor
from service.routing import Router
from service.settings import Settings

SHARED_MEMORY = "shared memory is not supported, send tensors in the message"
REPOSITORY = "the repository cannot be asked or changed over gRPC yet"
UNIMPLEMENTED = {
    "ModelStreamInfer": "streams are not supported, ModelInfer answers each request",
    "ModelStatistics": "statistics are not there yet over gRPC, /metrics of the HTTP port has them",
    "RepositoryIndex": REPOSITORY,
    "RepositoryModelLoad": REPOSITORY,
    "RepositoryModelUnload": REPOSITORY,
    "TraceSetting": "there are no trace settings",
    "LogSettings": "log settings cannot be read or changed over gRPC",
    "SystemSharedMemoryStatus": SHARED_MEMORY,
    "SystemSharedMemoryRegister": SHARED_MEMORY,
    "SystemSharedMemoryUnregister": SHARED_MEMORY,
    "CudaSharedMemoryStatus": SHARED_MEMORY,
    "CudaSharedMemoryRegister": SHARED_MEMORY,
    "CudaSharedMemoryUnregister": SHARED_MEMORY,
}
"""Calls of the protocol that are refused, each with its sentence."""


class Inferred(NamedTuple):
    """A ModelInferResponse and the id of its prediction."""

    message: Any
    prediction_id: str


class Calls:
    """The calls, over the models that `router` reaches."""

    def __init__(self, settings: Settings, router: Router, predictor: Predictor) -> None:
        self._settings = settings
        self._router = router
        self._predictor = predictor

    def server_live(self, request: Any) -> Any:
        """True while the process answers at all, also while it drains."""
        return service_pb2.ServerLiveResponse(live=True)

    def server_ready(self, request: Any) -> Any:
        """Whether requests should be sent here."""
        return service_pb2.ServerReadyResponse(ready=self._ready())

    def model_ready(self, request: Any) -> Any:
        """Whether the model answers right now; one that nobody knows does not."""
        try:
            target = self._router.find(request.name, request.version or None)
        except NotFound:
            return service_pb2.ModelReadyResponse(ready=False)
        return service_pb2.ModelReadyResponse(ready=self._router.answers(target))

    def server_metadata(self, request: Any) -> Any:
        """Name, version and the extensions that work."""
        return message(inference.server_metadata(), service_pb2.ServerMetadataResponse())

    def model_metadata(self, request: Any) -> Any:
        """Inputs and outputs. NotFound, or Unavailable until the model has been loaded once."""
        target = self._router.find(request.name, request.version or None)
        told = inference.model_metadata(self._router, target)
        return message(told, service_pb2.ModelMetadataResponse())

    def model_config(self, request: Any) -> Any:
        """The configuration in Triton's words. NotFound, or Unavailable until the model has been loaded once."""
        target = self._router.find(request.name, request.version or None)
        told = inference.model_config(self._router, target, self._settings)
        return service_pb2.ModelConfigResponse(config=message(told, model_config_pb2.ModelConfig()))

    def check(self, request: Any) -> Any:
        """grpc.health.v1: the server or one of its services; a model's name stands for the model."""
        services = {
            "": self._ready,
            "inference.GRPCInferenceService": self._ready,
            "readiness": self._ready,
            "liveness": lambda: True,
        }
        return health.check(services, request)

    async def model_infer(self, request: Any, remaining: float | None) -> Inferred:
        """Run a ModelInferRequest whose caller waits `remaining` more seconds. Raises what `api.problems` turns into a status."""
        target = self._router.find(request.model_name, request.model_version or None)
        with self._predictor.counted(target, "grpc"):
            received = time.monotonic()
            asked, given = messages.parse(request)
            limits = [limit for limit in (asked.timeout, remaining) if limit is not None]
            terms = self._predictor.terms(received, min(limits, default=None), asked.priority)
            outcome = await self._predictor.infer(target, given, asked.outputs, terms)
            told = messages.encode(asked, target.model, target.version, outcome.outputs)
        return Inferred(told, outcome.prediction_id)

    def _ready(self) -> bool:
        return unready(self._router.table) is None


def message(told: Mapping[str, Any], into: Any) -> Any:
    """`into` with what /v2 tells as JSON; what the message has no field for is left out."""
    return json_format.ParseDict(told, into, ignore_unknown_fields=True)
