"""Errors as gRPC statuses: the table of `api.problems`, in gRPC's words. It must not know why something was raised."""

import grpc
import msgspec

from service.api import problems

CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.CANCELLED,
    409: grpc.StatusCode.FAILED_PRECONDITION,
    412: grpc.StatusCode.FAILED_PRECONDITION,
    # Not RESOURCE_EXHAUSTED, which clients try again: the same request would be too large again.
    413: grpc.StatusCode.INVALID_ARGUMENT,
    415: grpc.StatusCode.INVALID_ARGUMENT,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    429: grpc.StatusCode.RESOURCE_EXHAUSTED,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}

Metadata = tuple[tuple[str, str], ...]


def status(method: str, error: Exception) -> tuple[grpc.StatusCode, str, Metadata]:
    """(code, sentence, trailing metadata) of a call that raised `error`. A defect of ours is logged, and told without its insides."""
    rendered = problems.render(f"/v2/{method}", error)
    sentence = msgspec.json.decode(rendered.body)["error"]
    code = CODES.get(rendered.status, grpc.StatusCode.INTERNAL)
    kept = (name for name in ("retry-after",) if name in rendered.headers)
    return code, sentence, tuple((name, rendered.headers[name]) for name in kept)
