"""How windows are drawn under a shift."""

import numpy as np
import pytest

from loadtests.drift import shifts
from loadtests.drift.pools import CLEAN, UNSEEN
from loadtests.drift.rows import Scored
from loadtests.drift.shifts import Shift, draw

ROWS = 100


def scored(value: float, rows: int = ROWS) -> Scored:
    labels = np.arange(rows) % 10
    values = np.stack([np.arange(rows), np.full(rows, value)], axis=1).astype(np.float32)
    return Scored(values, np.eye(10, dtype=np.float32)[labels], values, labels)


def window(shift: Shift, n: int = 40, traffic: np.ndarray | None = None) -> Scored:
    known = {CLEAN: scored(0), "image medium": scored(1), UNSEEN: scored(2, rows=7)}
    chosen = np.arange(50, ROWS) if traffic is None else traffic
    return draw(shift, known, chosen, n, np.random.default_rng(1))


def test_a_window_without_a_shift_holds_rows_of_the_traffic_each_once() -> None:
    rows = window(shifts.clean("images")).values[:, 0]
    assert rows.min() >= 50
    assert len(set(rows)) == 40


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_shift_hits_its_share_of_the_rows(share: float) -> None:
    found = window(Shift("images", "s", "x", "image medium", share))
    assert found.values[:, 1].sum() == round(40 * share)
    assert found.values[:, 0].min() >= 50


def test_a_class_that_is_knocked_out_does_not_come() -> None:
    assert (window(Shift("images", "s", "x", removed=1.0)).labels != shifts.ZERO).all()


def test_of_one_class_alone_rows_come_again_where_there_are_too_few() -> None:
    found = window(Shift("images", "s", "x", only=True))
    assert (found.labels == shifts.ZERO).all()
    assert found.size == 40


def test_rows_from_elsewhere_replace_those_that_are_hit() -> None:
    found = window(Shift("series", "s", "x", UNSEEN, 0.5))
    assert (found.values[:, 1] == 2).sum() == 20
    assert found.values[found.values[:, 1] == 2, 0].max() < 7


def test_the_suite_of_rabanser_has_ten_kinds_at_three_shares() -> None:
    assert len(shifts.rabanser()) == 30


def test_every_shift_has_a_name_of_its_own() -> None:
    names = [(one.modality, one.suite, one.name) for one in shifts.suites()]
    assert len(set(names)) == len(names)
