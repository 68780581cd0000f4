import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.profile import statistics

counts = st.lists(st.integers(0, 50), min_size=2, max_size=12).filter(any)


def test_ks_is_the_largest_distance_of_the_distribution_functions() -> None:
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.25, 0.5])
    ks, _ = statistics.both(p, q, 100, 300)
    assert ks == pytest.approx(np.cbrt(75 * 0.5**2))


def test_triangular_is_chi_squared_with_both_in_the_denominator() -> None:
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.5, 0.0, 0.5])
    _, triangular = statistics.both(p, q, 100, 300)
    assert triangular == pytest.approx(np.cbrt(75 * (0.25 / 0.25 + 0.25 / 0.25)))


@given(counts)
def test_equal_shares_are_at_no_distance(found: list[int]) -> None:
    live = np.array(found)
    p = statistics.shares(live)
    np.testing.assert_array_equal(statistics.both(p, p, 100, 300), 0)
    assert statistics.psi(live, live) == 0
    assert statistics.jensen_shannon(p, p) == pytest.approx(0, abs=1e-5)


@given(counts, counts)
def test_every_distance_is_finite_and_symmetric_where_it_should_be(a: list, b: list) -> None:
    size = max(len(a), len(b))
    live, reference = (np.pad(one, (0, size - len(one))) for one in (a, b))
    p, q = statistics.shares(live), statistics.shares(reference)
    for one, other in (
        (statistics.both(p, q, 100, 300), statistics.both(q, p, 300, 100)),
        (statistics.jensen_shannon(p, q), statistics.jensen_shannon(q, p)),
    ):
        np.testing.assert_allclose(one, other, atol=1e-9)
        assert np.isfinite(one).all()
    assert 0 <= statistics.jensen_shannon(p, q) <= 1 + 1e-9
    assert np.isfinite(statistics.psi(live, reference))


def test_psi_is_the_textbooks_on_large_counts() -> None:
    live, reference = np.array([3e6, 7e6]), np.array([5e6, 5e6])
    expected = -0.2 * np.log(0.3 / 0.5) + 0.2 * np.log(0.7 / 0.5)
    assert statistics.psi(live, reference) == pytest.approx(expected, rel=1e-4)


def test_wasserstein_is_how_far_values_moved() -> None:
    p, q = np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])
    assert statistics.wasserstein(p, q, np.array([0.0, 2.0, 5.0])) == 5


def test_one_row_among_many_is_what_it_says() -> None:
    p, q = np.array([0.99, 0.01]), np.array([1.0, 0.0])
    expected = statistics.both(p, q, 100, 900)
    np.testing.assert_allclose(statistics.one_row(100, 900), expected, rtol=0.01)
