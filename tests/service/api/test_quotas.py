"""Quotas: a burst, then a rate; counted by all front ends together, in a memory that does not grow."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.callers import Callers
from service.api.quotas import SETS, WAYS, Buckets, Quotas, household
from service.api.tokens import Tokens
from service.edge import Allowance, Quota

NOW = 1000.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "quotas"


@pytest.fixture
def buckets(path: Path) -> Iterator[Buckets]:
    found = Buckets(path)
    yield found
    found.close()


def allowed(buckets: Buckets, client: str, allowance: Allowance, moments: list[float]) -> list[int]:
    """Which of the requests at these moments are allowed, by their number."""
    return [n for n, at in enumerate(moments) if buckets.take(client, allowance, at).allowed]


def test_a_burst_may_come_at_once_and_then_the_rate(buckets: Buckets):
    allowance = Allowance(per_s=2, burst=5)
    assert allowed(buckets, "a", allowance, [NOW] * 9) == [0, 1, 2, 3, 4]
    assert allowed(buckets, "a", allowance, [NOW + 0.49, NOW + 0.51, NOW + 0.52]) == [1]
    assert allowed(buckets, "a", allowance, [NOW + 100] * 9) == [0, 1, 2, 3, 4]
    assert allowed(buckets, "b", allowance, [NOW] * 2) == [0, 1]


def test_without_a_burst_it_is_what_comes_in_a_second(buckets: Buckets):
    assert allowed(buckets, "a", Allowance(per_s=3), [NOW] * 9) == [0, 1, 2]
    assert allowed(buckets, "b", Allowance(per_s=0.1), [NOW, NOW, NOW + 9.9, NOW + 10.1]) == [0, 3]


def test_everybody_is_told_where_they_stand(buckets: Buckets):
    allowance = Allowance(per_s=2, burst=4)
    told = [dict(buckets.take("a", allowance, NOW).headers()) for _ in range(5)]
    assert [one[b"ratelimit"] for one in told] == [
        b'"client";r=3;t=1',
        b'"client";r=2;t=1',
        b'"client";r=1;t=2',
        b'"client";r=0;t=2',
        b'"client";r=0;t=2',
    ]
    assert {one[b"ratelimit-policy"] for one in told} == {b'"client";q=4;w=2'}
    assert [b"retry-after" in one for one in told] == [False] * 4 + [True]
    slow = [buckets.take("b", Allowance(per_s=0.1), NOW) for _ in range(2)]
    assert dict(slow[1].headers())[b"retry-after"] == b"10"
    assert slow[1].refusal == "the client's quota of 1 requests in 10 s is used up"


@given(
    st.lists(st.floats(0, 30), min_size=1, max_size=200),
    st.floats(0.5, 20),
    st.integers(1, 30),
)
def test_in_no_span_of_time_are_more_allowed_than_the_burst_and_the_rate(
    tmp_path_factory: pytest.TempPathFactory, offsets: list[float], rate: float, burst: int
):
    buckets = Buckets(tmp_path_factory.mktemp("spans") / "quotas")
    moments = sorted(NOW + offset for offset in offsets)
    allowance = Allowance(per_s=rate, burst=burst)
    taken = [moments[n] for n in allowed(buckets, "a", allowance, moments)]
    for first, start in enumerate(taken):
        for last, end in enumerate(taken[first:], first):
            assert last - first + 1 <= burst + (end - start) * rate + 1e-6
    assert len(taken) >= min(burst, len(moments))
    buckets.close()


def take_all(path: Path, results: "multiprocessing.SimpleQueue[int]") -> None:
    """Another front end: how many of 100 requests it lets through."""
    buckets = Buckets(path)
    results.put(len(allowed(buckets, "a", Allowance(per_s=1, burst=30), [NOW] * 100)))
    buckets.close()


def test_the_processes_of_a_machine_count_together(path: Path, buckets: Buckets):
    assert len(allowed(buckets, "a", Allowance(per_s=1, burst=30), [NOW] * 20)) == 20
    context = multiprocessing.get_context("spawn")
    results = context.SimpleQueue()
    other = context.Process(target=take_all, args=(path, results))
    other.start()
    assert results.get() == 10
    other.join()
    assert not buckets.take("a", Allowance(per_s=1, burst=30), NOW).allowed


def test_any_number_of_clients_takes_the_same_memory_and_none_is_starved(
    path: Path, buckets: Buckets
):
    allowance, size = Allowance(per_s=0.001, burst=1), path.stat().st_size
    for number in range(2 * SETS * WAYS):
        assert buckets.take(f"flood {number}", allowance, NOW).allowed
    assert path.stat().st_size == size == SETS * WAYS * 16
    assert buckets.take("somebody new", allowance, NOW).allowed


def test_a_client_that_asks_all_the_time_is_not_forgotten_for_those_that_came_once(
    buckets: Buckets,
):
    busy = Allowance(per_s=0.01, burst=2)
    assert len(allowed(buckets, "busy", busy, [NOW] * 2)) == 2
    for number in range(SETS * WAYS // 4):
        buckets.take(f"once {number}", Allowance(per_s=100), NOW)
    assert not buckets.take("busy", busy, NOW + 1).allowed


@pytest.fixture
def quotas(tmp_path: Path, path: Path) -> Quotas:
    file = tmp_path / "tokens"
    file.write_text("shop predict the-shop-token\nlabs predict the-labs-token\n")
    quota = Quota(per_s=0.001, burst=2, clients={"shop": Allowance(per_s=0.001, burst=3)})
    return Quotas(quota, path, Tokens(file, {}), Callers(["10.0.0.0/8"]))


def asked(quotas: Quotas, *, token: str = "", forwarded: str = "", peer: str = "192.0.2.1") -> int:
    """How many requests in a row are let through."""
    given = f"Bearer {token}".encode() if token else None
    return sum(quotas.ask(given, forwarded, peer).allowed for _ in range(9))


def test_a_client_is_its_token_wherever_it_asks_from_or_else_its_address(quotas: Quotas):
    assert asked(quotas, token="the-shop-token") == 3
    assert asked(quotas, token="the-shop-token", peer="192.0.2.2") == 0
    assert asked(quotas, token="the-labs-token") == 2
    assert asked(quotas) == 2
    assert asked(quotas, peer="192.0.2.2") == 2


def test_who_is_refused_is_counted_by_the_name_of_its_token(quotas: Quotas):
    asked(quotas, token="the-shop-token")
    asked(quotas, token="a-guess")
    assert quotas._counts._refused == {("quota", "shop"): 6, ("quota", ""): 7}


def test_a_token_that_is_not_known_buys_nothing(quotas: Quotas):
    assert asked(quotas, token="guess-number-1") == 2
    assert asked(quotas, token="guess-number-2") == 0
    assert asked(quotas, forwarded="198.51.100.1") == 0


def test_behind_a_trusted_proxy_clients_are_told_apart(quotas: Quotas):
    for client in ("198.51.100.1", "198.51.100.2"):
        assert asked(quotas, forwarded=client, peer="10.0.0.1") == 2
    assert asked(quotas, forwarded="1.1.1.1, 198.51.100.1", peer="10.0.0.1") == 0


def test_all_addresses_of_an_ipv6_network_are_one_client(quotas: Quotas):
    assert asked(quotas, peer="2001:db8::1") == 2
    assert asked(quotas, peer="2001:db8::ffff") == 0
    assert asked(quotas, peer="2001:db8:0:1::1") == 2
    assert household("::ffff:192.0.2.1") == "192.0.2.1"
    assert household("nobody") == "nobody"
