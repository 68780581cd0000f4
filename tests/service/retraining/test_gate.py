"""What passes the gate, what never does, and how often chance decides."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.retraining import gate
from service.retraining.gate import Costs, Limits, Rows, Verdict

CLASSES = 4
COSTS = Costs(10.0, 1000)


def answers(predicted: np.ndarray, sure: float = 0.9) -> np.ndarray:
    """Probabilities that put `sure` on the predicted class."""
    found = np.full((len(predicted), CLASSES), (1 - sure) / (CLASSES - 1))
    found[np.arange(len(predicted)), predicted] = sure
    return found


def rows(n: int, champion: float, challenger: float, seed: int = 0, **slices: bool) -> Rows:
    """`n` labels, which either gets right with the given chance, independently."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, n)

    def predicted(accuracy: float) -> np.ndarray:
        wrong = (labels + rng.integers(1, CLASSES, n)) % CLASSES
        return answers(np.where(rng.random(n) < accuracy, labels, wrong))

    names = [str(index) for index in range(CLASSES)]
    return Rows(
        predicted(champion), predicted(challenger), labels, gate.class_slices(labels, names)
    )


def judged(
    newest: Rows,
    held_out: Rows | None = None,
    challenger: Costs = COSTS,
    leaked: int = 0,
    **limits: object,
) -> Verdict:
    same = held_out or rows(500, 1.0, 1.0)
    return gate.judge(newest, same, COSTS, challenger, leaked, Limits(**limits))  # type: ignore[arg-type]


def failed(verdict: Verdict) -> list[str]:
    return [line.name for line in verdict.lines if not line.passed]


def test_a_better_challenger_passes_every_line():
    verdict = judged(rows(800, 0.7, 0.95), better=True)
    assert verdict.passed, failed(verdict)
    assert {line.name for line in verdict.lines} >= {
        "accuracy",
        "better",
        "memory",
        "class 0",
        "calibration",
        "latency",
        "size",
        "leakage",
    }


def test_flipped_labels_never_pass():
    found = rows(300, 0.95, 0.95)
    flipped = Rows(found.champion, answers((found.labels + 1) % CLASSES), found.labels)
    assert "accuracy" in failed(judged(flipped))


def test_one_class_alone_never_passes():
    found = rows(300, 0.6, 0.6)
    one = Rows(found.champion, answers(np.zeros(300, dtype=int)), found.labels, found.slices)
    assert "accuracy" in failed(judged(one))


def test_a_single_row_of_the_judging_in_the_training_stops_it():
    assert failed(judged(rows(400, 0.7, 0.95), leaked=1)) == ["leakage"]


@pytest.mark.parametrize(
    ("n", "lost", "passes"), [(354, 4, True), (354, 5, False), (100, 4, False)]
)
def test_a_few_rows_forgotten_by_chance_are_not_held_against_it(n: int, lost: int, passes: bool):
    labels = np.zeros(n, dtype=np.int64)
    known = Rows(answers(labels), answers((np.arange(n) < lost).astype(np.int64)), labels)
    found = judged(rows(400, 0.7, 0.95), known)
    line = next(one for one in found.lines if one.name == "memory")
    assert line.passed == passes
    assert ("chance" in line.text) == passes


def test_what_the_champion_knew_must_not_be_forgotten():
    assert failed(judged(rows(400, 0.7, 0.95), rows(500, 1.0, 0.97))) == ["memory"]
    assert not failed(judged(rows(400, 0.7, 0.95), rows(500, 1.0, 0.995)))


def test_few_labels_show_nothing_even_without_a_difference():
    same = rows(20, 1.0, 1.0)
    verdict = judged(same)
    assert failed(verdict) == ["accuracy"]
    assert verdict.more_labels > 0


def test_a_slice_that_falls_is_named():
    found = rows(800, 0.9, 0.9)
    predicted = found.labels.copy()
    bad = (found.labels == 2) & (np.arange(800) % 4 == 0)
    predicted[bad] = 0
    verdict = judged(Rows(found.champion, answers(predicted), found.labels, found.slices))
    assert [name for name in failed(verdict) if name.startswith("class")] == ["class 2"]


def test_a_slice_with_few_labels_is_left_out():
    found = rows(300, 0.9, 0.9)
    names = {line.name for line in judged(found).lines}
    assert not any(name.startswith("class") for name in names)


def test_an_overconfident_challenger_is_named():
    found = rows(500, 0.8, 0.8)
    sure = Rows(found.champion, answers(found.challenger.argmax(1), 0.999), found.labels)
    assert "calibration" in failed(judged(sure))


@pytest.mark.parametrize(
    ("costs", "line"), [(Costs(11.2, 1000), "latency"), (Costs(10.0, 2001), "size")]
)
def test_a_costlier_challenger_is_named(costs: Costs, line: str):
    assert failed(judged(rows(400, 0.7, 0.95), challenger=costs)) == [line]


def test_a_millisecond_of_a_fast_model_is_noise():
    fast = gate.quick(Costs(0.3, 1), Costs(1.2, 1), Limits())
    assert fast.passed


def passes(n: int, lost: float, gained: float, margin: float, runs: int = 4000) -> float:
    """How often non-inferiority is shown when pairs fall apart with these chances."""
    rng = np.random.default_rng(1)
    drawn = rng.multinomial(n, [lost, gained, 1 - lost - gained], runs)
    limits = Limits(margin=margin)
    return float(
        np.mean([gate.not_worse(gate.Pairs(n, int(g), int(b)), limits).passed for b, g, _ in drawn])
    )


@pytest.mark.parametrize("n", [200, 1000])
def test_a_challenger_at_the_margin_passes_by_chance_in_one_of_twenty(n: int):
    assert passes(n, 0.04, 0.02, 0.02) <= 0.065


@pytest.mark.parametrize("n", [300, 1000])
def test_the_power_that_is_told_is_the_power_that_there_is(n: int):
    measured = passes(n, 0.03, 0.03, 0.02)
    assert gate.power(n, 0.06, 0.02) == pytest.approx(measured, abs=0.04)


@pytest.mark.parametrize(
    ("discordance", "margin", "labels"),
    [(0.04, 0.01, 2474), (0.06, 0.01, 3710), (0.06, 0.02, 928), (0.10, 0.02, 1546)],
)
def test_labels_needed_are_those_of_the_formula(discordance: float, margin: float, labels: int):
    assert gate.labels_needed(discordance, margin) == pytest.approx(labels, abs=1)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_binomial_tail(more: int, fewer: int):
    p, other = gate.mcnemar(more, fewer), gate.mcnemar(fewer, more)
    assert 0 < p <= 1
    both = math.comb(more + fewer, more) / 2 ** (more + fewer)
    assert p + other == pytest.approx(1 + both)
