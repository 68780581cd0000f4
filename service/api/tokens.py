"""Bearer tokens: whose they are, what each may do, and where they are read from. It must not know what is asked with them.

A file has one token a line:

    NAME SCOPES SECRET      shop predict,feedback sha256:9f86d081884c7d65...
    SECRET                  may do everything, and has no name

A secret is the token itself, or "sha256:" and its digest. Two lines may share a name: the old token and the new, while it is changed.
"""

import hashlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from service.errors import SettingsError
from service.settings import PREFIX, Settings

VARIABLE = f"{PREFIX}TOKEN"
SHORTEST = 8
UNNAMED = "unnamed"
READ, PREDICT, FEEDBACK, HOOKS, ADMIN = SCOPES = ("read", "predict", "feedback", "hooks", "admin")
"""Every token may read; `admin` may do everything."""

NAME = re.compile(r"[A-Za-z0-9._-]{1,40}")
DIGEST = re.compile(r"sha256:([0-9a-fA-F]{64})")
REMEMBERED = 1024
"""Authorization headers whose token is remembered, so that a busy one is hashed once."""


class Token(NamedTuple):
    """Who somebody is, and what that may do. It does not hold the secret."""

    name: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether one of its scopes is `scope`, or holds it."""
        return scope == READ or scope in self.scopes or ADMIN in self.scopes


class Tokens:
    """The tokens of a file and of the environment, by their digests. Falsy when there are none."""

    def __init__(self, file: Path | None, environ: Mapping[str, str] = os.environ) -> None:
        self._file = file
        self._variable = environ.get(VARIABLE, "")
        self._known: dict[bytes, Token] = {}
        self._remembered: dict[bytes, Token] = {}
        self.reload()

    def __bool__(self) -> bool:
        return bool(self._known)

    def reload(self) -> None:
        """Read the file again: all of it counts, or nothing changes. SettingsError says what is wrong with it, and shows no secret."""
        found = [
            (f"{VARIABLE}: ", part) for part in map(str.strip, self._variable.split(",")) if part
        ]
        if self._file is not None:
            found += lines(self._file)
        known: dict[bytes, Token] = {}
        for place, line in found:
            digest, token = read(place, line)
            if digest in known:
                raise SettingsError(f"{place}this token is there twice")
            known[digest] = token
        self._known, self._remembered = known, {}

    def find(self, authorization: bytes | None) -> Token | None:
        """Whose token an Authorization header brings, None where it brings none that is known."""
        if authorization is None:
            return None
        if (token := self._remembered.get(authorization)) is not None:
            return token
        scheme, _, given = authorization.partition(b" ")
        if scheme.lower() != b"bearer":
            return None
        # Digests are looked up, not tokens compared: how long it takes tells nothing of one.
        token = self._known.get(hashlib.sha256(given.strip()).digest())
        if token is not None and len(self._remembered) < REMEMBERED:
            self._remembered[authorization] = token
        return token


def of(settings: Settings, environ: Mapping[str, str] = os.environ) -> Tokens:
    """The tokens of a service. They are no settings, which travel on command lines that every user of a machine can read."""
    return Tokens(settings.token_file, environ)


def lines(file: Path) -> list[tuple[str, str]]:
    """(where it stands, the line) for each token of a file; "#" begins a comment. SettingsError when it cannot be read or holds none."""
    try:
        text = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is no UTF-8" if isinstance(error, UnicodeDecodeError) else error
        raise SettingsError(f"token_file: {file}: {reason}") from None
    found = [
        (f"token_file: {file}, line {number}: ", line)
        for number, line in enumerate(map(str.strip, text.splitlines()), 1)
        if line and not line.startswith("#")
    ]
    if not found:
        raise SettingsError(f"token_file: {file} holds no token")
    return found


def read(place: str, line: str) -> tuple[bytes, Token]:
    """The digest of one token, and whose it is. SettingsError begins with `place`."""
    fields = line.split()
    if len(fields) == 1:
        return digest_of(place, fields[0]), Token(UNNAMED, frozenset((ADMIN,)))
    if len(fields) != 3:
        raise SettingsError(
            f"{place}it has {len(fields)} words, a token has 1 (SECRET) or 3 (NAME SCOPES SECRET)"
        )
    name, scopes, secret = fields
    if not NAME.fullmatch(name) or name == UNNAMED:
        raise SettingsError(
            f"{place}a name has 1 to 40 letters, digits, '.', '_' or '-', and is not '{UNNAMED}'"
        )
    named = frozenset(scopes.split(","))
    if unknown := named - set(SCOPES):
        # What stands there may be a secret in the wrong place.
        raise SettingsError(
            f"{place}{len(unknown)} of its scopes is not known, there are {', '.join(SCOPES)}"
        )
    return digest_of(place, secret), Token(name, named)


def digest_of(place: str, secret: str) -> bytes:
    """What a token is known by."""
    if secret.startswith("sha256:"):
        if (found := DIGEST.fullmatch(secret)) is None:
            raise SettingsError(f"{place}behind 'sha256:' there are not 64 hexadecimal digits")
        return bytes.fromhex(found[1])
    if len(secret) < SHORTEST:
        raise SettingsError(
            f"{place}a token has {len(secret)} characters, {SHORTEST} are the fewest: "
            "`openssl rand -hex 32` makes one"
        )
    return hashlib.sha256(secret.encode()).digest()
