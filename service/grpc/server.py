"""The gRPC server of one front end, on its event loop. It must not know what a call means.

bytes -> message -> Calls -> message -> bytes; whatever is raised becomes a status. The front ends share the port with SO_REUSEPORT;
control has reserved it before any of them starts.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from tritonclient.grpc import service_pb2

from service.api.telemetry import Telemetry
from service.errors import SettingsError
from service.grpc import health, statuses
from service.grpc.accompanied import Accompanied
from service.grpc.calls import UNIMPLEMENTED, Calls, Inferred
from service.grpc.messages import read
from service.settings import Settings
from service.tls import Certificate

SERVICE = "inference.GRPCInferenceService"

Handler = Callable[[bytes, Any], Awaitable[Any]]
Answer = Callable[[Any], Awaitable[Any]]


@asynccontextmanager
async def serving(
    settings: Settings, calls: Calls, telemetry: Telemetry | None = None
) -> AsyncIterator[int]:
    """The server of `calls`, answering on `settings.grpc_port` while the block runs; yields the port.

    At the end it takes nothing new and answers what it has accepted. SettingsError when the address cannot be had.
    """
    most = settings.limits.connections
    server = grpc.aio.server(options=options(settings), maximum_concurrent_rpcs=most)
    told = Accompanied(telemetry or Telemetry(settings), timed=settings.server_timing)
    server.add_generic_rpc_handlers(handlers(calls, told))
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    address = f"{host}:{settings.grpc_port}"
    try:
        if calls.certificate is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials(calls.certificate))
    except RuntimeError as error:
        raise SettingsError(f"cannot listen on {address} for gRPC: {error}") from error
    await server.start()
    try:
        yield port
    finally:
        await server.stop(max(1.0, settings.drain_timeout_s - 1))


def options(settings: Settings) -> tuple[tuple[str, int], ...]:
    """What a connection may take, in gRPC's words."""
    limits = settings.limits
    return (
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", settings.max_body_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_metadata_size", limits.header_bytes),
        ("grpc.absolute_max_metadata_size", limits.header_bytes),
        ("grpc.server_handshake_timeout_ms", int(limits.header_timeout_s * 1000)),
        ("grpc.max_connection_idle_ms", limits.idle_timeout_s * 1000),
    )


def credentials(certificate: Certificate) -> Any:
    """A certificate as gRPC takes it, asked for at every handshake."""
    given = certificate.pair

    def newest() -> Any:
        nonlocal given
        if certificate.pair is given:
            return None
        given = certificate.pair
        return grpc.ssl_server_certificate_configuration([given])

    first = grpc.ssl_server_certificate_configuration([given])
    return grpc.dynamic_ssl_server_credentials(first, newest)


def handlers(calls: Calls, told: Accompanied) -> tuple[Any, Any]:
    """The two services with their methods."""
    kinds = service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
    answers: dict[str, Answer] = {
        "ServerLive": calls.server_live,
        "ServerReady": calls.server_ready,
        "ModelReady": calls.model_ready,
        "ServerMetadata": calls.server_metadata,
        "ModelMetadata": calls.model_metadata,
        "ModelConfig": calls.model_config,
        "ModelStatistics": calls.model_statistics,
        "RepositoryIndex": calls.repository_index,
        "RepositoryModelLoad": calls.repository_load,
        "RepositoryModelUnload": calls.repository_unload,
        "TraceSetting": calls.trace_setting,
        "LogSettings": calls.log_settings,
    }
    methods = {
        name: unary(
            answered(calls, name, getattr(service_pb2, kinds[name].input_type.name), answer)
        )
        for name, answer in answers.items()
    }
    methods["ModelInfer"] = unary(told.infer(infer(calls)))
    for name, sentence in UNIMPLEMENTED.items():
        methods[name] = refused(sentence, kinds[name].client_streaming)
    probes = {"Check": unary(answered(calls, "Check", health.HealthCheckRequest, calls.check))}
    return (
        grpc.method_handlers_generic_handler(SERVICE, methods),
        grpc.method_handlers_generic_handler(health.SERVICE, probes),
    )


def unary(handler: Handler) -> Any:
    """A method of one message each way. It gets bytes: what does not parse must be answered, too."""
    return grpc.unary_unary_rpc_method_handler(
        handler, response_serializer=lambda message: message.SerializeToString()
    )


def answered(calls: Calls, name: str, kind: Any, answer: Answer) -> Handler:
    """The handler of a call that runs no model."""

    async def handle(message: bytes, context: Any) -> Any:
        try:
            calls.admit(name, context.invocation_metadata, context.peer())
            return await answer(read(kind, message))
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a status and the log the rest
            told = statuses.status(name, error)
        return await context.abort(*told)

    return handle


def infer(calls: Calls) -> Callable[[bytes, Any], Awaitable[Inferred]]:
    """What ModelInfer does. Where the caller goes or its deadline passes, gRPC cancels it, and with it the request."""

    async def run(message: bytes, context: Any) -> Inferred:
        calls.admit("ModelInfer", context.invocation_metadata, context.peer())
        return await calls.model_infer(
            read(service_pb2.ModelInferRequest, message),
            context.time_remaining(),
            lambda: calls.client_of(context.invocation_metadata, context.peer()),
        )

    return run


def refused(sentence: str, streaming: bool) -> Any:
    """A method that is not there, with the reason."""

    async def handle(_: Any, context: Any) -> Any:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, sentence)

    if streaming:
        return grpc.stream_stream_rpc_method_handler(handle)
    return grpc.unary_unary_rpc_method_handler(handle)
