"""Who asks: a proxy is believed where it is trusted, and nobody else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.callers import Callers, of_grpc, one_way
from service.errors import SettingsError

CLIENT, PROXY, EDGE = "203.0.113.7", "10.0.0.5", "192.0.2.10"


@pytest.mark.parametrize(
    ("trusted", "peer", "forwarded", "address"),
    [
        ((), CLIENT, "", CLIENT),
        ((), CLIENT, "1.2.3.4", CLIENT),
        (("10.0.0.0/8",), CLIENT, "1.2.3.4", CLIENT),
        (("10.0.0.0/8",), PROXY, "", PROXY),
        (("10.0.0.0/8",), PROXY, CLIENT, CLIENT),
        (("10.0.0.0/8",), PROXY, f"1.2.3.4, {CLIENT}", CLIENT),
        (("10.0.0.0/8",), PROXY, f"1.2.3.4, {CLIENT}, 10.9.9.9", CLIENT),
        (("10.0.0.0/8", EDGE), PROXY, f"{CLIENT},{EDGE},10.9.9.9", CLIENT),
        (("10.0.0.0/8",), PROXY, f"{CLIENT}:51000", CLIENT),
        (("10.0.0.0/8",), PROXY, "[2001:db8::1]:443", "2001:db8::1"),
        (("10.0.0.0/8",), PROXY, "2001:db8::1", "2001:db8::1"),
        (("10.0.0.0/8",), f"::ffff:{PROXY}", CLIENT, CLIENT),
        (("10.0.0.0/8",), PROXY, "unknown", PROXY),
        (("10.0.0.0/8",), PROXY, f"unknown, {CLIENT}", CLIENT),
        (("10.0.0.0/8",), PROXY, f"{CLIENT}, nonsense", PROXY),
        (("10.0.0.0/8",), PROXY, "10.1.1.1, 10.2.2.2", "10.1.1.1"),
    ],
)
def test_the_client_is_the_last_address_before_the_trusted_proxies(
    trusted: tuple[str, ...], peer: str, forwarded: str, address: str
):
    assert Callers(trusted).address(peer, forwarded) == address


@given(st.text())
def test_whatever_a_client_writes_it_cannot_name_another_address(forged: str):
    callers = Callers(["10.0.0.0/8"])
    assert callers.address(CLIENT, forged) == CLIENT
    assert callers.address(PROXY, f"{forged}, {CLIENT}") == CLIENT


def test_a_canary_takes_clients_by_the_names_that_they_give_themselves():
    callers = Callers([PROXY])
    assert callers.name("kitchen", CLIENT, (PROXY, 1)) == "kitchen"
    assert callers.name("", CLIENT, (PROXY, 1)) == CLIENT
    assert callers.name("", "1.2.3.4", (CLIENT, 1)) == CLIENT
    assert callers.name("", "", None) == ""


@pytest.mark.parametrize("wrong", ["nginx", "10.0.0.0/99", "10.0.0.1/8", ""])
def test_a_proxy_that_is_no_address_stops_the_start(wrong: str):
    with pytest.raises(SettingsError, match="trusted_proxies: "):
        Callers([wrong])


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:40000", "192.0.2.1"),
        ("ipv6:%5B::1%5D:40000", "::1"),
        ("ipv6:[2001:db8::1]:40000", "2001:db8::1"),
        ("unix:/run/socket", "/run/socket"),
    ],
)
def test_grpc_writes_addresses_in_its_own_way(peer: str, address: str):
    assert of_grpc(peer) == address


def test_of_several_lines_the_proxys_own_is_the_last():
    """As HAProxy does it: its line stands behind the one that the client has made up."""
    headers = [(b"x-forwarded-for", b"1.2.3.4"), (b"host", b"t"), (b"x-forwarded-for", b"9.9.9.9")]
    joined = one_way(headers)
    assert sorted(joined) == [(b"host", b"t"), (b"x-forwarded-for", b"1.2.3.4,9.9.9.9")]
    assert Callers([PROXY]).address(PROXY, dict(joined)[b"x-forwarded-for"].decode()) == "9.9.9.9"
    assert one_way(headers[:2]) == headers[:2]
