"""Who asks: an address, through proxies only where they are trusted, or what a client calls itself. It must not know what for."""

import functools
import ipaddress
from collections.abc import Sequence
from typing import Any

from litestar import Request

from service.errors import SettingsError

FORWARDED = b"x-forwarded-for"
MOST_HOPS = 16
"""Proxies behind one another; a longer list is not read on."""

Headers = list[tuple[bytes, bytes]]
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Callers:
    """Where requests come from. `trusted`: addresses or networks of the proxies in front, whose X-Forwarded-For is believed."""

    def __init__(self, trusted: Sequence[str] = ()) -> None:
        self._networks = tuple(map(network, trusted))
        self._trusts = functools.lru_cache(maxsize=1024)(self._is_trusted)

    def address(self, peer: str, forwarded: str) -> str:
        """The last address before the trusted proxies; what stands further left anybody could have written."""
        if not forwarded or not self._networks or not self._trusts(peer):
            return peer
        address = peer
        for hop in reversed(forwarded.rsplit(",", MOST_HOPS)):
            if (found := parsed(hop)) is None:
                break
            address = str(found)
            if not self._trusts(address):
                break
        return address

    def name(self, named: str, forwarded: str, peer: Sequence[Any] | None) -> str:
        """For a canary's share, which everybody may choose to be in: what a client calls itself, else its address."""
        return named or self.address(str(peer[0]) if peer else "", forwarded)

    def of_request(self, request: Request[Any, Any, Any]) -> str:
        """`name` of who sent a request of the framework's."""
        headers = request.headers
        return self.name(
            headers.get("evergreen-client", ""),
            headers.get("x-forwarded-for", ""),
            request.scope.get("client"),
        )

    def _is_trusted(self, address: str) -> bool:
        found = parsed(address)
        return found is not None and any(found in network for network in self._networks)


def one_way(headers: Headers) -> Headers:
    """Headers (lower case) with what proxies say in one line: one of them may have put its own behind a client's."""
    said = [value for name, value in headers if name == FORWARDED]
    if len(said) < 2:
        return headers
    others = [(name, value) for name, value in headers if name != FORWARDED]
    return [*others, (FORWARDED, b",".join(said))]


def network(text: str) -> Network:
    """One of the trusted. SettingsError when it is none."""
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise SettingsError(
            f"trusted_proxies: {error}; an address or a network such as 10.0.0.0/8 was expected"
        ) from None


def parsed(text: str) -> Address | None:
    """An address as proxies write it, with or without a port; None when it is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def of_grpc(peer: str) -> str:
    """The address in gRPC's "ipv4:192.0.2.1:40000" or "ipv6:%5B::1%5D:40000"."""
    address = peer.partition(":")[2].replace("%5B", "[").replace("%5D", "]")
    found = parsed(address)
    return address if found is None else str(found)
