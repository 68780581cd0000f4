"""Who may do what: bearer tokens, from a file or the environment. It must not know what is done with them.

protect = "changes"   what changes state needs a token; without any it is allowed on the loopback alone
protect = "all"       reading and predicting need one, too; the health probes stay open
"""

import hmac
import ipaddress
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from service.errors import Forbidden, SettingsError, Unauthenticated
from service.settings import PREFIX, Settings

VARIABLE = f"{PREFIX}TOKEN"
SHORTEST = 8
HOW = f"set {VARIABLE}, or token_file to a file with one token a line"

CHANGE: dict[str, Any] = {"access": "change"}
"""`opt` of a route that changes state."""
PROBE: dict[str, Any] = {"access": "probe"}
"""`opt` of a route that answers everybody."""

Guard = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], None]


def read_tokens(file: Path | None, environ: Mapping[str, str] = os.environ) -> tuple[bytes, ...]:
    """The tokens in `file` (one a line, "#" begins a comment) and those in the environment (commas between them).

    They are no part of the settings, which travel on command lines that every user of a machine can read. SettingsError where the file
    cannot be read or holds none, or a token is too short.
    """
    found = environ.get(VARIABLE, "").split(",")
    if file is not None:
        try:
            lines = file.read_text().splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"token_file: {file}: {error}") from error
        held = [line for line in map(str.strip, lines) if line and not line.startswith("#")]
        if not held:
            raise SettingsError(f"token_file: {file} holds no token")
        found += held
    tokens = [token for token in map(str.strip, found) if token]
    if short := next((token for token in tokens if len(token) < SHORTEST), None):
        raise SettingsError(
            f"a token has {len(short)} characters, {SHORTEST} are the fewest: "
            "`openssl rand -hex 32` makes one"
        )
    return tuple(token.encode() for token in tokens)


class Access:
    """The rules of one service. What is refused is raised: Unauthenticated or Forbidden."""

    def __init__(self, settings: Settings, environ: Mapping[str, str] = os.environ) -> None:
        self._tokens = read_tokens(settings.token_file, environ)
        self._local = is_loopback(settings.host)
        self.protects_all = settings.protect == "all"
        if self.protects_all and not self._tokens:
            raise SettingsError(f"protect is 'all', but there is no token: {HOW}")

    def knows(self, authorization: bytes | None) -> bool:
        """Whether an Authorization header brings one of the tokens."""
        scheme, _, given = (authorization or b"").partition(b" ")
        if scheme.lower() != b"bearer":
            return False
        given = given.strip()
        # All of them are looked at, so that the time tells nothing of which.
        return sum(hmac.compare_digest(given, token) for token in self._tokens) > 0

    def check_use(self, authorization: str | None) -> None:
        """Reading and predicting."""
        if self.protects_all:
            self._check_token(authorization)

    def check_change(
        self, authorization: str | None, origin: str | None = None, host: str | None = None
    ) -> None:
        """What changes state. `origin` and `host`: those headers, where the request could be a browser's."""
        if self._tokens:
            self._check_token(authorization)
        elif not self._local:
            raise Forbidden(
                f"this service can be reached from other machines and has no token, so nothing can be changed: {HOW}"
            )
        elif origin is not None and urlsplit(origin).netloc != host:
            raise Forbidden(f"a page of '{origin[:80]}' may not change anything here")

    def _check_token(self, authorization: str | None) -> None:
        if not self.knows(
            None if authorization is None else authorization.encode("latin-1", "replace")
        ):
            wrong = "is missing" if authorization is None else "is not known here"
            raise Unauthenticated(f"the token {wrong}: send 'Authorization: Bearer TOKEN'")


def guard(access: Access) -> Guard:
    """The framework's guard of every route, by what its `opt` says."""

    def check(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        kind, headers = handler.opt.get("access"), connection.headers
        if kind == "change":
            access.check_change(
                headers.get("authorization"), headers.get("origin"), headers.get("host")
            )
        elif kind != "probe":
            access.check_use(headers.get("authorization"))

    return check


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address to listen on."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
