"""The Open Inference Protocol: tensors over HTTP, for programs. The contract is KServe's and Triton's, with the binary extension."""

import importlib.metadata
from typing import Any

from litestar import Controller, Request, Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath

from models.bundle import Tensor
from service.api import values
from service.api.access import ASK
from service.api.connection import unless_gone
from service.api.infer import InferRoute, Said, answer_headers
from service.routing import Router, Target
from service.settings import Settings

VERSION = importlib.metadata.version("evergreen-serving")
EXTENSIONS = [
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "model_repository(unload_dependents)",
    "parameters",
    "schedule_policy",
    "statistics",
]
"""Only what works."""

AnyRequest = Request[Any, Any, Any]


class Inference(Controller):
    """What tritonclient and KServe's client call."""

    path = "/v2"
    tags = ("open inference protocol",)

    @get("/", summary="Server metadata", sync_to_thread=False)
    def server(self) -> dict[str, Any]:
        """Name, version and the extensions that work."""
        return server_metadata()

    @get("/models", summary="Names of the models", sync_to_thread=False)
    def names(self, router: NamedDependency[Router]) -> dict[str, list[str]]:
        """Every model that is served."""
        return {"models": list(router.models())}

    @get(
        ["/models/{name:str}/ready", "/models/{name:str}/versions/{version:str}/ready"],
        summary="Model ready",
    )
    async def ready(
        self,
        router: NamedDependency[Router],
        name: FromPath[str],
        version: FromPath[str | None] = None,
    ) -> dict[str, Any]:
        """Whether the model answers right now: 503 while it is loading, or its engine is being replaced or says nothing."""
        await router.hear(router.find(name, version))
        return {"name": name, "ready": True}

    @get(
        ["/models/{name:str}", "/models/{name:str}/versions/{version:str}"],
        summary="Model metadata",
        sync_to_thread=False,
    )
    def metadata(
        self,
        router: NamedDependency[Router],
        name: FromPath[str],
        version: FromPath[str | None] = None,
    ) -> dict[str, Any]:
        """Inputs and outputs; -1 stands for an axis of any length, the first is the batch."""
        return model_metadata(router, router.find(name, version))

    @get(
        ["/models/{name:str}/config", "/models/{name:str}/versions/{version:str}/config"],
        summary="Model configuration",
        sync_to_thread=False,
    )
    def config(
        self,
        router: NamedDependency[Router],
        settings: NamedDependency[Settings],
        name: FromPath[str],
        version: FromPath[str | None] = None,
    ) -> dict[str, Any]:
        """The model's configuration in Triton's words."""
        return model_config(router, router.find(name, version), settings)

    @post(
        ["/models/{name:str}/infer", "/models/{name:str}/versions/{version:str}/infer"],
        status_code=200,
        opt=ASK,
        summary="Run a model on tensors",
    )
    async def infer(
        self,
        request: AnyRequest,
        route: NamedDependency[InferRoute],
        name: FromPath[str],
        version: FromPath[str | None] = None,
    ) -> Response[bytes]:
        """JSON, or JSON and raw tensors behind it as `Inference-Header-Content-Length` says; the content type is not asked.

        `parameters.timeout` (microseconds) or `Request-Timeout-Ms` shortens the deadline; `parameters.priority` is 1 (first) to 3,
        or what the model's config.pbtxt says.
        """
        said = Said(
            request.headers.get("content-encoding"),
            request.headers.get("inference-header-content-length"),
            request.headers.get("request-timeout-ms"),
            request.headers.get("accept-encoding"),
        )
        body = await request.body()
        # Chosen only now: while a slow body came, another version may have taken the place of the one that answered.
        target = route.find(name, version, lambda: route.callers.of_request(request))
        work = route.answer(target, said, body)
        answer = await unless_gone(request.receive, work)
        headers = {key.decode(): value.decode() for key, value in answer_headers(answer)}
        media = headers.pop("content-type")
        return Response(answer.body, headers=headers, media_type=media)


def server_metadata() -> dict[str, Any]:
    """What the service tells of itself."""
    return {"name": "evergreen", "version": VERSION, "extensions": EXTENSIONS}


def model_metadata(router: Router, target: Target) -> dict[str, Any]:
    """What a version takes and gives. Unavailable until it has been loaded once."""
    manifest = router.opened(target).manifest
    versions = sorted(t.version for t in router.table.targets if t.model == target.model)
    return {
        "name": target.model,
        "versions": [str(version) for version in versions],
        "platform": "onnxruntime_onnx",
        "inputs": [described(tensor) for tensor in manifest.inputs],
        "outputs": [described(tensor) for tensor in manifest.outputs],
    }


def model_config(router: Router, target: Target, settings: Settings) -> dict[str, Any]:
    """A version's configuration in Triton's words. Unavailable until it has been loaded once."""
    manifest = router.opened(target).manifest
    most, rows = settings.max_request_rows, manifest.counts_rows
    config: dict[str, Any] = {
        "name": target.model,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "version_policy": {"specific": {"versions": [target.version]}},
        "max_batch_size": min(most, manifest.most_rows or most) if rows else 0,
        "input": [configured(tensor, rows) for tensor in manifest.inputs],
        "output": [configured(tensor, rows) for tensor in manifest.outputs],
        "instance_group": [{"count": target.report.get("instances", 1), "kind": "KIND_AUTO"}],
    }
    # Whether the key is there is what tells a client.
    return config | ({"dynamic_batching": {}} if manifest.batched else {})


def described(tensor: Tensor) -> dict[str, Any]:
    """A tensor as the metadata tells it."""
    shape = [-1 if isinstance(axis, str) else axis for axis in tensor.shape]
    return {"name": tensor.name, "datatype": values.NAMES[tensor.dtype], "shape": shape}


def configured(tensor: Tensor, rows: bool) -> dict[str, Any]:
    """A tensor as the configuration tells it: without the batch axis, where there is one, and with Triton's type names."""
    datatype = values.NAMES[tensor.dtype]
    axes = tensor.shape[1:] if rows else tensor.shape
    told: dict[str, Any] = {
        "name": tensor.name,
        "data_type": "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}",
        "dims": [-1 if isinstance(axis, str) else axis for axis in axes],
    }
    return told | ({"optional": True} if tensor.optional else {})
