"""Who may do what: a token's scopes, or the place where the service listens. It must not know what is done with them.

protect = "changes"   what changes state needs a token with its scope; without any token it is allowed on the loopback alone
protect = "all"       reading and predicting need one, too; the health probes stay open
"""

import ipaddress
import os
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from service.api import tokens
from service.api.tokens import ADMIN, FEEDBACK, HOOKS, PREDICT, READ, VARIABLE, Token
from service.errors import Forbidden, SettingsError, Unauthenticated
from service.refusals import Refusals
from service.settings import Settings

HOW = f"set {VARIABLE}, or token_file to a file with one token a line"

OPEN = (READ, PREDICT)
"""Scopes that need no token where only changes are protected."""
PROBE: dict[str, Any] = {"scope": "probe"}
"""`opt` of a route that answers everybody; a route without an `opt` is read."""
ASK: dict[str, Any] = {"scope": PREDICT}
LABEL: dict[str, Any] = {"scope": FEEDBACK}
NOTIFY: dict[str, Any] = {"scope": HOOKS}
CHANGE: dict[str, Any] = {"scope": ADMIN}

Guard = Callable[[ASGIConnection[Any, Any, Any, Any], BaseRouteHandler], None]


class Access:
    """The rules of one service. What is refused is raised, Unauthenticated or Forbidden, and counted."""

    def __init__(
        self,
        settings: Settings,
        environ: Mapping[str, str] = os.environ,
        counts: Refusals | None = None,
    ) -> None:
        self.tokens = tokens.of(settings, environ)
        # Who names proxies is reached through them.
        self._local = is_loopback(settings.host) and not settings.trusted_proxies
        self._counts = counts or Refusals()
        self.protects_all = settings.protect == "all"
        if self.protects_all and not self.tokens:
            raise SettingsError(f"protect is 'all', but there is no token: {HOW}")

    def may_predict(self, authorization: bytes | None) -> bool:
        """Whether an Authorization header brings a token that may, where one is needed. Who is refused here is told why by `permit`."""
        token = self.tokens.find(authorization)
        if token is None or not token.may(PREDICT):
            return False
        self._counts.ask(token.name)
        return True

    def permit(
        self,
        scope: str,
        authorization: bytes | None,
        origin: str | None = None,
        host: str | None = None,
    ) -> None:
        """Return where it is allowed. `origin` and `host`: those headers, where the request could be a browser's."""
        if scope in OPEN and not self.protects_all:
            return
        if self.tokens:
            self._check_token(scope, authorization)
        elif not self._local:
            raise Forbidden(
                f"this service can be reached from other machines and has no token, so nothing can be changed: {HOW}"
            )
        elif origin is not None and not is_own(origin, host):
            raise Forbidden(f"a page of '{origin[:80]}' may not change anything here")

    def _check_token(self, scope: str, authorization: bytes | None) -> None:
        token = self.tokens.find(authorization)
        if token is None:
            self._counts.refuse("no token" if authorization is None else "unknown token")
            wrong = "is missing" if authorization is None else "is not known here"
            raise Unauthenticated(f"the token {wrong}: send 'Authorization: Bearer TOKEN'")
        self._counts.ask(token.name)
        if not token.may(scope):
            self._counts.refuse("scope", token.name)
            raise Forbidden(f"{told(token)}, this needs {scope}")


def told(token: Token) -> str:
    """A token as a refusal names it."""
    return f"the token '{token.name}' may {', '.join(sorted(token.scopes | {READ}))}"


def guard(access: Access) -> Guard:
    """The framework's guard of every route, by the scope in its `opt`."""

    def check(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        scope, headers = handler.opt.get("scope", READ), connection.headers
        if scope != "probe":
            access.permit(
                scope,
                as_sent(headers.get("authorization")),
                headers.get("origin"),
                headers.get("host"),
            )

    return check


def as_sent(header: str | None) -> bytes | None:
    """A header as it came."""
    return None if header is None else header.encode("latin-1", "replace")


def is_own(origin: str, host: str | None) -> bool:
    """Whether a page comes from this machine's own address. Any name can be made to lead here once its page is open (DNS rebinding)."""
    try:
        found = urlsplit(origin)
        return found.netloc == host and is_loopback(found.hostname or "")
    except ValueError:  # it is no URL
        return False


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address to listen on."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
