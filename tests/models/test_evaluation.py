"""Figures on a classifier, against what can be worked out by hand and what must hold for any numbers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import evaluation
from models.evaluation import Epoch

COUNTS = st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
ANSWERS = st.integers(1, 5).flatmap(
    lambda classes: st.tuples(
        st.just(classes),
        st.lists(st.tuples(*[st.integers(0, classes - 1)] * 2), min_size=1, max_size=60),
    )
)


@given(COUNTS)
def test_the_interval_lies_in_0_to_1_and_holds_the_value(pair: tuple[int, int]) -> None:
    share = evaluation.share(*pair)
    assert 0 <= share.low <= share.value <= share.high <= 1
    assert share.low < share.high


@given(COUNTS)
def test_the_interval_is_mirrored_when_hits_and_misses_are(pair: tuple[int, int]) -> None:
    correct, n = pair
    one, other = evaluation.share(correct, n), evaluation.share(n - correct, n)
    assert math.isclose(one.low, 1 - other.high, abs_tol=1e-12)
    assert math.isclose(one.high, 1 - other.low, abs_tol=1e-12)


@given(COUNTS, st.integers(2, 50))
def test_more_rows_narrow_the_interval(pair: tuple[int, int], times: int) -> None:
    few, many = evaluation.share(*pair), evaluation.share(pair[0] * times, pair[1] * times)
    assert many.high - many.low < few.high - few.low


@given(COUNTS)
def test_the_bounds_solve_wilsons_equation(pair: tuple[int, int]) -> None:
    correct, n = pair
    share = evaluation.share(correct, n)
    for bound in (share.low, share.high):
        left, right = (share.value - bound) ** 2, evaluation.Z95**2 * bound * (1 - bound) / n
        assert math.isclose(left, right, rel_tol=1e-6, abs_tol=1e-9)


def test_wilsons_interval_of_8_of_10_is_the_published_one() -> None:
    share = evaluation.share(8, 10)
    assert (round(share.low, 3), round(share.high, 3)) == (0.490, 0.943)


@pytest.mark.parametrize(("correct", "n"), [(-1, 5), (6, 5), (0, 0), (0, -1)])
def test_what_is_no_share_is_refused(correct: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"{correct} of {n}"):
        evaluation.share(correct, n)


def test_accuracy_counts_rows_whose_likeliest_class_is_right() -> None:
    probabilities = np.array([[0.9, 0.1], [0.4, 0.6], [0.7, 0.3], [0.2, 0.8]])
    assert evaluation.accuracy(np.array([0, 1, 1, 1]), probabilities)[:2] == (0.75, 4)


@given(ANSWERS)
def test_the_confusion_matrix_counts_every_row_once(drawn: tuple[int, list]) -> None:
    classes, pairs = drawn
    labels, predicted = np.array(pairs).T
    counts = evaluation.confusion(labels, predicted, classes)
    assert counts.shape == (classes, classes)
    for truth in range(classes):
        for answer in range(classes):
            assert counts[truth, answer] == pairs.count((truth, answer))


@given(ANSWERS)
def test_class_scores_follow_their_definitions(drawn: tuple[int, list]) -> None:
    classes, pairs = drawn
    labels, predicted = np.array(pairs).T
    scores = evaluation.per_class(evaluation.confusion(labels, predicted, classes))
    for index, score in enumerate(scores):
        hits = int(((labels == index) & (predicted == index)).sum())
        said, support = int((predicted == index).sum()), int((labels == index).sum())
        assert score.support == support
        assert score.precision == (hits / said if said else 0)
        assert score.recall == (hits / support if support else 0)
        both = score.precision + score.recall
        harmonic = 2 * score.precision * score.recall / both if both else 0
        assert math.isclose(score.f1, harmonic, abs_tol=1e-12)


def test_a_class_that_never_occurs_scores_zero_and_divides_by_nothing() -> None:
    scores = evaluation.per_class(np.array([[5, 0], [0, 0]]))
    assert scores == [(1.0, 1.0, 1.0, 5), (0.0, 0.0, 0.0, 0)]


def test_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    probabilities = np.tile([0.8, 0.2], (10, 1))
    right, half = np.zeros(10, dtype=int), np.array([0, 1] * 5)
    assert evaluation.calibration_error(right, probabilities) == pytest.approx(0.2)
    assert evaluation.calibration_error(half, probabilities) == pytest.approx(0.3)


def test_a_certain_and_correct_model_has_no_calibration_error() -> None:
    labels = np.arange(6) % 3
    assert evaluation.calibration_error(labels, np.eye(3)[labels]) == 0


@given(st.integers(0, 2**32), st.integers(1, 50), st.integers(2, 6))
def test_calibration_error_is_a_share(seed: int, rows: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(classes), rows)
    assert 0 <= evaluation.calibration_error(rng.integers(0, classes, rows), probabilities) <= 1


def curve(*points: tuple[float, float, float]) -> list[Epoch]:
    """Epochs from (training accuracy, validation loss, validation accuracy)."""
    return [Epoch(0.1, train, loss, validation, 1e-3, 1.0) for train, loss, validation in points]


def test_a_validation_loss_that_rose_again_is_called_overfitting() -> None:
    history = curve((0.8, 0.5, 0.8), (0.9, 0.4, 0.85), (0.99, 0.6, 0.84))
    said = evaluation.verdict(history, 1)
    assert said.startswith("Overfits after the kept epoch")
    assert "kept epoch 2 of 3" in said


def test_a_wide_gap_is_called_overfitting() -> None:
    assert evaluation.verdict(curve((0.8, 0.5, 0.8), (0.95, 0.4, 0.85)), 1).startswith(
        "Overfits somewhat"
    )


def test_a_loss_still_falling_at_the_end_is_called_underfitting() -> None:
    history = curve((0.5, 0.9, 0.5), (0.6, 0.8, 0.6), (0.7, 0.6, 0.7))
    assert evaluation.verdict(history, 2).startswith("Underfits")


def test_flat_and_close_curves_are_called_neither() -> None:
    history = curve((0.9, 0.401, 0.9), (0.91, 0.4, 0.91), (0.91, 0.4, 0.91))
    assert evaluation.verdict(history, 2).startswith("Neither")
