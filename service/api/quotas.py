"""What each client may ask: counted for all front ends of a machine together. It must not know what is asked.

The generic cell rate algorithm: one number for each client, the moment at which it will have its whole burst again. These numbers lie in
a file that all front ends map into their memory, so they need nobody between them, and what it takes is bounded: where there are more
clients than places, whoever would be whole again first is forgotten, and starts with all of its burst.
"""

import hashlib
import ipaddress
import math
import mmap
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from service.api.callers import Callers, parsed
from service.api.tokens import Tokens
from service.edge import Allowance, Quota
from service.refusals import Refusals

SETS, WAYS = 8192, 8
"""Places for 65,536 clients, 16 bytes each: a client's key chooses a set, within which it lies anywhere."""
SUBNET = 64
"""Bits of an IPv6 address that name a client: everybody has 2^64 addresses behind them."""


class Standing(NamedTuple):
    """Where a client stands after asking. Seconds: until it may ask again, and until it has its whole burst."""

    allowed: bool
    most: int
    remaining: int
    again: float
    whole: float
    window: float

    @property
    def refusal(self) -> str:
        """The sentence for who was refused."""
        return f"the client's quota of {self.most} requests in {self.window:g} s is used up"

    def headers(self) -> list[tuple[bytes, bytes]]:
        """draft-ietf-httpapi-ratelimit-headers, and Retry-After where it was refused."""
        policy = b'"client";q=%d;w=%d' % (self.most, math.ceil(self.window))
        told = b'"client";r=%d;t=%d' % (self.remaining, math.ceil(self.whole))
        found = [(b"ratelimit-policy", policy), (b"ratelimit", told)]
        if not self.allowed:
            found.append((b"retry-after", b"%d" % max(1, math.ceil(self.again))))
        return found


class Buckets:
    """The numbers of all clients, in a file that several processes map. Two that write one place at once may count one request less."""

    def __init__(self, path: Path) -> None:
        size = SETS * WAYS * 16
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
            file.truncate(size)
            self._map = mmap.mmap(file.fileno(), size)
        self._whole = memoryview(self._map)
        self._keys = self._whole[: size // 2].cast("Q")
        self._moments = self._whole[size // 2 :].cast("d")

    def take(self, client: str, allowance: Allowance, now: float) -> Standing:
        """Count one request, where there is room for it."""
        interval, most = 1 / allowance.per_s, allowance.most
        window = interval * most
        place = self._place(client)
        # A clock that began anew with the machine has left nothing here: the file goes with the service.
        owed = max(0.0, self._moments[place] - now)
        if owed + interval > window * (1 + 1e-9):
            return Standing(False, most, 0, owed + interval - window, owed, window)
        owed += interval
        self._moments[place] = now + owed
        return Standing(True, most, int((window - owed) / interval + 1e-9), 0.0, owed, window)

    def close(self) -> None:
        """Give the memory back."""
        for view in (self._keys, self._moments, self._whole):
            view.release()
        self._map.close()

    def _place(self, client: str) -> int:
        """Where a client's number stands; of who has the least to lose, where all places of its set are taken."""
        digest = hashlib.blake2b(client.encode("utf-8", "surrogateescape"), digest_size=10).digest()
        key = int.from_bytes(digest[:8], "little") or 1
        first = int.from_bytes(digest[8:], "little") % SETS * WAYS
        keys = self._keys[first : first + WAYS].tolist()
        if key in keys:
            return first + keys.index(key)
        place = min(range(first, first + WAYS), key=self._moments.__getitem__)
        self._moments[place] = 0.0
        self._keys[place] = key
        return place


class Quotas:
    """Who may ask how often. A client is the name of its token, else its address; what is not a known token counts for nobody."""

    def __init__(
        self,
        quota: Quota,
        path: Path,
        tokens: Tokens,
        callers: Callers,
        counts: Refusals | None = None,
    ) -> None:
        self._counts = counts or Refusals()
        self._quota = quota
        self._tokens = tokens
        self._callers = callers
        self.buckets = Buckets(path)

    def ask(self, authorization: bytes | None, forwarded: str, peer: str) -> Standing:
        """Count a request of whoever brings this token, or comes from there."""
        token = self._tokens.find(authorization)
        if token is not None:
            client, allowance = f"token {token.name}", self._quota.clients.get(token.name)
        else:
            client, allowance = household(self._callers.address(peer, forwarded)), None
        standing = self.buckets.take(client, allowance or self._quota, time.monotonic())
        if not standing.allowed:
            self._counts.refuse("quota", "" if token is None else token.name)
        return standing

    def ask_of(self, headers: Mapping[bytes, bytes], peer: str) -> Standing:
        """`ask` with what a request's headers (lower case) say."""
        forwarded = headers.get(b"x-forwarded-for", b"").decode("latin-1")
        return self.ask(headers.get(b"authorization"), forwarded, peer)


def household(address: str) -> str:
    """The client that an address stands for: itself, or its IPv6 network."""
    found = parsed(address)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.IPv6Network((int(found), SUBNET), strict=False))
    return address if found is None else str(found)
