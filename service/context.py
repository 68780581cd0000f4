"""Which request the running task works on: the ids that its log lines and its spans carry. It must not know who asks or what for.

A task sets `current` for itself and for whatever it starts; where nothing is known of a request it stays None, and costs a look.
"""

import re
from contextvars import ContextVar

REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,128}")
"""What a caller may call a request: 128 characters, without blanks, so that a log line stays one word longer."""
TRACEPARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}(-.*)?")
"""W3C Trace Context: version, trace, parent, flags; a later version may say more."""
ZEROS = b"0" * 32


class RequestContext:
    """One request: what it is called, where it belongs, and what has become known of it so far."""

    __slots__ = (
        "decoded",
        "model",
        "prediction_id",
        "received",
        "request_id",
        "rows",
        "trace",
        "trace_id",
        "version",
    )

    def __init__(self, request_id: str | None = None, trace_id: str | None = None) -> None:
        self.request_id = request_id
        self.trace_id = trace_id
        self.trace: tuple[str, str] | None = None
        """Its span, as `traceparent` and `tracestate`; set where the request is sampled."""
        self.prediction_id: str | None = None
        self.model: str | None = None
        self.version: int | None = None
        self.rows = 0
        self.received = self.decoded = 0.0

    def note(self, model: str, version: int, prediction_id: str, rows: int) -> None:
        """It asks for `rows` of a version; `prediction_id` is what the answer will be called."""
        self.model, self.version, self.rows = model, version, rows
        self.prediction_id = prediction_id

    def note_decoding(self, received: float, decoded: float) -> None:
        """When its body was complete, and when its tensors were there (s of time.monotonic())."""
        self.received, self.decoded = received, decoded

    def ids(self) -> dict[str, str]:
        """What a log line says of it."""
        named = (("request_id", self.request_id), ("trace_id", self.trace_id))
        return {name: value for name, value in named if value is not None}


current: ContextVar[RequestContext | None] = ContextVar("current", default=None)


def read_request_id(header: bytes | None) -> str | None:
    """What the caller calls the request; None where that is not a short word of printable characters."""
    if header is None or REQUEST_ID.fullmatch(header) is None:
        return None
    return header.decode()


def read_trace_id(header: bytes | None) -> str | None:
    """The trace that a `traceparent` names; None where it is none."""
    found = None if header is None else TRACEPARENT.fullmatch(header)
    if found is None:
        return None
    version, trace, parent, more = found.groups()
    malformed = version == b"ff" or (version == b"00" and more)
    if malformed or trace == ZEROS or parent == ZEROS[:16]:
        return None
    return trace.decode()
