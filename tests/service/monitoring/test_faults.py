"""Broken inputs are counted apart from drift, over the last hour."""

from service.monitoring.faults import Faults
from service.monitoring.observed import Inputs


def test_front_ends_and_minutes_add_up():
    faults = Faults(0.0)
    for now in (10.0, 30.0, 100.0):
        faults.add(now, Inputs("m", 10, {"undecodable": 2}, 8, 1))
    faults.add(100.0, Inputs("m", 10, {"not_finite": 4}, 6, 0))
    found = faults.of(100.0, "m")
    assert (found.requests, found.invalid) == (40, {"not_finite": 4, "undecodable": 6})
    assert (found.share, found.sampled, found.dropped, found.seconds) == (0.25, 30, 3, 100.0)


def test_what_is_an_hour_old_is_forgotten():
    faults = Faults(0.0)
    faults.add(0.0, Inputs("m", 100, {"undecodable": 100}, 0, 0))
    faults.add(3000.0, Inputs("m", 5, {}, 5, 0))
    found = faults.of(4000.0, "m")
    assert (found.requests, found.share, found.seconds) == (5, 0.0, 3600.0)
    faults.add(4000.0, Inputs("m", 5, {}, 5, 0))
    assert len(faults._kept["m"]) == 2


def test_a_model_without_requests_has_no_faults():
    assert Faults(0.0).of(1.0, "m").share == 0.0
