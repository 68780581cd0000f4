"""What goes with every ModelInfer: its ids, its trace, its line in the access log, and how it ends. It must not know what is inferred."""

from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from service.api.callers import of_grpc
from service.api.telemetry import Call, Telemetry
from service.grpc import statuses
from service.grpc.calls import Inferred

Metadata = dict[str, str | bytes]
METHOD = "inference.GRPCInferenceService/ModelInfer"
FAULTS = ("UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS")
"""Codes by which the server is at fault, as OpenTelemetry has it."""


class Accompanied:
    """Makes handlers whose calls are told of. `timed`: they say where their time went."""

    def __init__(self, telemetry: Telemetry, *, timed: bool) -> None:
        self._telemetry = telemetry
        self._timed = timed

    def infer(self, run: Callable[[bytes, Any], Awaitable[Inferred]]) -> Callable[..., Any]:
        """The handler of ModelInfer; `run` raises what has no answer."""

        async def handle(message: bytes, context: Any) -> Any:
            metadata = dict(context.invocation_metadata() or ())
            passage = self._telemetry.begin(
                lambda: self._called(context, metadata), lambda name: header(metadata, name)
            )
            named: statuses.Metadata = ()
            if passage is not None and passage.request_id is not None:
                named = (("x-request-id", passage.request_id),)
            code, sentence, trailing = grpc.StatusCode.CANCELLED, "", named
            found: Inferred | None = None
            try:
                found = await run(message, context)
                code = grpc.StatusCode.OK
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a status and the log the rest
                code, sentence, trailing = statuses.status("ModelInfer", error)
            finally:
                if passage is not None:
                    fault = code.name if code.name in FAULTS else None
                    passage.end(code.name, failed=fault)
            if found is None:
                return await context.abort(code, sentence, (*trailing, *named))
            timing = (("server-timing", found.timing),) if self._timed else ()
            context.set_trailing_metadata((("prediction-id", found.prediction_id), *timing, *named))
            return found.message

        return handle

    def _called(self, context: Any, metadata: Metadata) -> Call:
        """The call in the words of OpenTelemetry's conventions."""
        through = (header(metadata, b"x-forwarded-for") or b"").decode("latin-1")
        address = self._telemetry.callers.address(of_grpc(context.peer()), through)
        attributes = {"rpc.system.name": "grpc", "rpc.method": METHOD, "client.address": address}
        return Call(METHOD, "grpc", f"/{METHOD}", attributes)


def header(metadata: Metadata, name: bytes) -> bytes | None:
    """A key of a call's metadata as a header."""
    value = metadata.get(name.decode())
    return value.encode("latin-1", "replace") if isinstance(value, str) else value
