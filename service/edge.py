"""What an operator can set about the edge of the service: TLS, and what a client may take. It must not know how a limit is kept."""

from pathlib import Path
from typing import Annotated

import msgspec

Positive = Annotated[int, msgspec.Meta(ge=1)]
Rate = Annotated[float, msgspec.Meta(gt=0, le=1_000_000)]
Patience = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


class Tls(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[tls]: speak TLS 1.2 or newer, HTTP and gRPC alike. Both files are read again when they change."""

    certificate: Path | None = None
    """The certificate, and those between it and its root behind it (PEM). Not set: no TLS."""
    key: Path | None = None
    """Its private key (PEM, not encrypted). Not set: it stands in the certificate's file."""


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[limits]: what a connection may take of a front end. Bodies, rows and times of requests have settings of their own."""

    connections: Positive = 16_384
    """In each front end; never more than the process may open files. Beyond it those go first that wait for their clients."""
    header_timeout_s: Patience = 10.0
    """A new connection, or the head of a request, that is not complete by then is closed."""
    body_timeout_s: Patience = 30.0
    """A body may take as long; a longer one has to come at `body_bytes_per_s`, in every such span. An answer that is not read for as long is
    given up."""
    body_bytes_per_s: Positive = 4096
    idle_timeout_s: Positive = 75
    """An idle connection is closed then. Longer than the usual 60 s of a proxy, which would otherwise send into a closing one."""
    header_bytes: Annotated[int, msgspec.Meta(ge=1024)] = 32_768
    """The most bytes of a request's line and headers together, beyond them 431."""
    headers: Positive = 100
    """The most headers of a request, beyond them 431."""
    pending_mb: Positive = 1024
    """The most that bodies without an answer may take in each front end: what comes beyond gets 503."""


class Allowance(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How many requests a second, and how many at once after a pause: a second's worth when not set."""

    per_s: Rate
    burst: Positive | None = None

    @property
    def most(self) -> int:
        """Requests that may come at once."""
        return self.burst or max(1, round(self.per_s))


class Quota(Allowance, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[quota]: what each client may ask; who exceeds it gets 429. A client is a token's name, else an address.

    The front ends of a machine count together; every machine counts for itself.
    """

    clients: dict[str, Allowance] = {}
    """[quota.clients.NAME]: those of single tokens, by their names."""
