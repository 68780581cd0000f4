"""Traffic that goes on: what is dependent, and what counts as a page."""

import numpy as np
import pytest

from loadtests.drift.parts import dependence, labels, overhead, pages


def test_a_page_is_counted_when_it_begins() -> None:
    far, near = 0.0001, 0.5
    assert pages.paged(iter([far, far, far, near, near, near, far, far])) == 2
    assert pages.paged(iter([far, near, near, far, near, near])) == 0


def test_a_walk_has_its_autocorrelation_and_visits_all_places_alike() -> None:
    places = dependence.walk(20_000, 100, 1.0, np.random.default_rng(0))
    assert np.corrcoef(places[1:], places[:-1])[0, 1] == pytest.approx(dependence.RHO, abs=0.05)
    assert places.mean() == pytest.approx(49.5, abs=2)
    assert (places.min(), places.max()) == (0, 99)


def test_what_is_left_of_a_walk_is_less_alike() -> None:
    share = 1 / 8
    places = dependence.walk(20_000, 100, share, np.random.default_rng(0))
    left = share * dependence.RHO / (1 - (1 - share) * dependence.RHO)
    assert len(places) == 20_000
    assert np.corrcoef(places[1:], places[:-1])[0, 1] == pytest.approx(left, abs=0.05)


def test_no_page_in_many_months_is_still_not_never() -> None:
    low, high = pages.poisson_interval(0, 12)
    assert (low, high) == (0, pytest.approx(0.307, abs=1e-3))
    low, high = pages.poisson_interval(1, 1)
    assert (low, high) == (pytest.approx(0.0253, abs=1e-3), pytest.approx(5.572, abs=1e-3))


def test_harm_is_said_after_labels_that_are_mostly_wrong_and_not_without() -> None:
    assert labels.alarmed(np.ones(50, dtype=bool)) is not None
    assert labels.alarmed(np.zeros(50, dtype=bool)) is None


def test_the_monitors_own_cpu_is_read_from_the_metrics_whatever_their_labels() -> None:
    text = (
        "# HELP inference_monitor_cpu_seconds_total x\n"
        'inference_monitor_cpu_seconds_total{model="a"} 1.5\n'
        "inference_monitor_cpu_seconds_total 0.25\n"
        "inference_monitor_cpu_seconds_created 9.0\n"
    )
    assert overhead.spent(text) == 1.75
