"""grpc.health.v1.Health/Check, which Kubernetes and load balancers ask. It must not know what makes the service ready.

Its two messages are declared here: the package that ships them asks for another protobuf than the protocol's stubs do.
`Watch` is left unimplemented, which the protocol allows; its clients then stop asking.
"""

from collections.abc import Callable
from typing import Any

from google.protobuf import descriptor_pb2, message_factory, text_format

from service.errors import NotFound

SERVICE = "grpc.health.v1.Health"
SERVING, NOT_SERVING = 1, 2

_FILE = """
name: "evergreen/health.proto" package: "grpc.health.v1" syntax: "proto3"
message_type { name: "HealthCheckRequest"
  field { name: "service" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING } }
message_type { name: "HealthCheckResponse"
  field { name: "status" number: 1 label: LABEL_OPTIONAL type: TYPE_ENUM type_name: ".grpc.health.v1.HealthCheckResponse.ServingStatus" }
  enum_type { name: "ServingStatus" value { name: "UNKNOWN" number: 0 } value { name: "SERVING" number: 1 }
    value { name: "NOT_SERVING" number: 2 } value { name: "SERVICE_UNKNOWN" number: 3 } } }
"""
_messages = message_factory.GetMessages(
    [text_format.Parse(_FILE, descriptor_pb2.FileDescriptorProto())]
)
HealthCheckRequest = _messages["grpc.health.v1.HealthCheckRequest"]
HealthCheckResponse = _messages["grpc.health.v1.HealthCheckResponse"]


def check(services: dict[str, Callable[[], bool]], request: Any) -> Any:
    """Whether the service that `request` names is there; the empty name is the server. NotFound when nobody knows it."""
    if (serves := services.get(request.service)) is None:
        known = ", ".join(filter(None, services))
        raise NotFound(f"no health is known of '{request.service[:40]}', only of {known}")
    return HealthCheckResponse(status=SERVING if serves() else NOT_SERVING)
