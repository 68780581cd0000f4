"""Which rows are asked for: by lot first, the uncertain ones named so that they are no sample, each row once."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from service.ledger.records import Prediction
from service.monitoring.quality import ACTIVE
from service.monitoring.wanted import Wanted, wanted
from service.predictor import Identifiers

LABELS = ("cat", "dog")
new_id = Identifiers()


def rows(count: int, at: float = 0.0, label: int = 0) -> list[Prediction]:
    rng = np.random.default_rng(0)
    return [
        Prediction(new_id(), 0, "m", 1, at, label, float(c), 1.0, "v1")
        for c in rng.uniform(0.5, 1, count)
    ]


def asked(newest: list[Prediction], limit: int, since: float | None = None) -> list[Wanted]:
    uncertain = sorted(newest, key=lambda one: one.confidence)
    return wanted(LABELS, newest, uncertain, Counter(), since, limit)


def test_while_it_drifts_half_are_drawn_from_the_drift():
    old, new = rows(100), rows(100, at=50.0)
    found = asked([*new, *old], 40, since=50.0)
    drawn = {one.prediction_id for one in found if one.why == "drift"}
    assert len(drawn) == 20
    assert drawn <= {one.id for one in new}
    assert not any(one.why == "sample" for one in found)


def test_otherwise_half_are_drawn_from_all():
    why = Counter(one.why for one in asked(rows(200), 40))
    assert why == {"sample": 20, "uncertain": 10, "class": 10}


def test_rows_by_lot_are_a_fair_sample_and_the_picked_ones_are_told_apart():
    newest = rows(2000)
    found = asked(newest, 600)
    by_lot = [one.confidence for one in found if one.why == "sample"]
    usual = [one.confidence for one in newest]
    assert abs(np.mean(by_lot) - np.mean(usual)) < 4 * np.std(usual) / np.sqrt(len(by_lot))
    assert all((one.source == ACTIVE) == (one.why in ("uncertain", "class")) for one in found)


def test_the_least_certain_is_the_first_of_its_kind():
    newest = rows(50)
    found = asked(newest, 50)
    by_lot = {one.prediction_id for one in found if one.why == "sample"}
    first = next(one for one in found if one.why == "uncertain")
    assert first.confidence == min(one.confidence for one in newest if one.id not in by_lot)


def test_a_class_without_labels_is_asked_for():
    newest = [*rows(100), *rows(3, label=1)]
    found = wanted(LABELS, newest, [], Counter({0: 500}), None, 30)
    assert Counter(one.label for one in found)["dog"] == 3  # those that the lot did not take


def test_the_same_rows_are_asked_for_until_they_are_labelled():
    newest = rows(80)
    first = asked(newest, 20)
    assert asked(newest, 20) == first
    left = [one for one in newest if one.id != first[0].prediction_id]
    assert first[0] not in asked(left, 20)


@given(st.integers(0, 60), st.integers(1, 80), st.booleans())
def test_each_row_once_and_as_many_as_there_are(count: int, limit: int, drifting: bool):
    newest = rows(count, at=10.0)
    found = asked(newest, limit, 5.0 if drifting else None)
    assert len({(one.prediction_id, one.row) for one in found}) == len(found) == min(count, limit)
