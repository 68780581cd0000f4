import made
import numpy as np
import pytest

from models.profile import estimate


def test_on_the_rows_it_learned_from_both_estimates_are_the_accuracy() -> None:
    rows = made.batch(4000)
    shares = rows.outputs["probabilities"]
    found = estimate.learn(shares, rows.labels)
    told = found.accuracies(found.sums(shares))
    assert found.accuracy == pytest.approx((shares.argmax(axis=1) == rows.labels).mean())
    assert told["atc"] == pytest.approx(found.accuracy, abs=0.001)
    assert told["cbpe"] == pytest.approx(found.accuracy, abs=0.02)
    assert found.n == 4000


@pytest.mark.parametrize("sharper", [0.5, 1.0, 2.0])
def test_the_temperature_undoes_too_much_and_too_little_confidence(sharper: float) -> None:
    rows = made.batch(8000)
    powers = np.exp(sharper * rows.outputs["logits"])
    shares = powers / powers.sum(axis=1, keepdims=True)
    assert estimate.learn(shares, rows.labels).temperature == pytest.approx(sharper, rel=0.08)


def test_rows_add_up_whatever_batch_they_came_in() -> None:
    rows = made.batch(100)
    shares = rows.outputs["probabilities"]
    found = estimate.learn(shares, rows.labels)
    whole = found.sums(shares)
    parts = [found.sums(part) for part in (shares[:30], shares[30:])]
    assert {name: sum(part[name] for part in parts) for name in whole} == pytest.approx(whole)
    np.testing.assert_allclose(
        found.rows(shares).sum(axis=0), [whole["confidence"], whole["above"]], rtol=1e-5
    )


def test_a_harder_day_lowers_both_estimates() -> None:
    rows = made.batch(4000)
    found = estimate.learn(rows.outputs["probabilities"], rows.labels)
    powers = np.exp(0.5 * rows.outputs["logits"])
    told = found.accuracies(found.sums(powers / powers.sum(axis=1, keepdims=True)))
    assert max(told.values()) < found.accuracy - 0.05


def test_no_rows_are_no_division_by_zero() -> None:
    found = estimate.Estimate(1.0, 0.5, 0.9, 100)
    assert found.accuracies(found.sums(np.zeros((0, 3)))) == {"cbpe": 0, "atc": 0}
