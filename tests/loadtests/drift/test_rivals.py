"""The rivals do what their names say."""

import shutil

import numpy as np
import pytest
from scipy import stats

from loadtests.compare.errors import NotMeasured
from loadtests.drift.rivals import evidently
from loadtests.drift.rivals.kolmogorov import any_column, bbsds
from loadtests.drift.rows import Scored


def rows(count: int, seed: int, level: float = 0.0) -> Scored:
    rng = np.random.default_rng(seed)
    values = (rng.standard_normal((count, 3)) + level).astype(np.float32)
    shares = rng.dirichlet(np.ones(4), count)
    return Scored(values, shares, values, np.zeros(count, dtype=np.int64))


def test_any_column_takes_the_smallest_p_as_it_is() -> None:
    reference, window = rows(500, 1), rows(100, 2)
    expected = min(
        stats.ks_2samp(reference.values[:, i], window.values[:, i], method="asymp").pvalue
        for i in range(3)
    )
    assert any_column(reference).p(window) == pytest.approx(expected)


def test_bbsds_corrects_for_the_number_of_classes() -> None:
    reference, window = rows(500, 1), rows(100, 2)
    smallest = min(
        stats.ks_2samp(
            reference.probabilities[:, i], window.probabilities[:, i], method="asymp"
        ).pvalue
        for i in range(4)
    )
    assert bbsds(reference).p(window) == pytest.approx(min(1, 4 * smallest))


def test_a_clear_shift_of_the_columns_is_seen_by_one_and_not_by_the_other() -> None:
    assert any_column(rows(500, 1)).p(rows(100, 2, level=1)) < 1e-6
    assert bbsds(rows(500, 1)).p(rows(100, 2, level=1)) > 0.01


@pytest.mark.system
def test_evidently_sees_what_is_clear_and_is_asked_over_files() -> None:
    python = evidently.ensure()
    reference = rows(1500, 1)
    told = evidently.judge(
        python, ["a", "b", "class"], reference, [rows(1000, 2), rows(1000, 3, level=2)]
    )
    assert [one.drift for one in told] == [False, True]


def test_an_evidently_that_fails_is_not_measured() -> None:
    false = shutil.which("false")
    assert false
    with pytest.raises(NotMeasured, match="failed"):
        evidently.judge(false, ["a", "b", "c"], rows(10, 1), [rows(10, 2)])  # type: ignore[arg-type]
