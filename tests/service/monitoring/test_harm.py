"""The test of labels: how soon it sees harm, how seldom it cries wolf, and that nothing but the labels makes its state."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.monitoring import harm
from service.monitoring.harm import Harm, HarmTest

PROMISED, TOLERANCE = 0.05, 0.02
LIMIT = PROMISED + TOLERANCE
ALARM = harm.restart_alarm(PROMISED, LIMIT, harm.ALPHA)


class Streams:
    """The same tests on many streams of labels at once. `alarmed`: when each was first called harmful, 0 while it was not."""

    def __init__(self, runs: int, promised: float = PROMISED, tolerance: float = TOLERANCE) -> None:
        limit = promised + tolerance
        self._steps = [np.array(one)[:, None] for one in harm.odds(limit, harm.STAKES)]
        self._levels = math.log(1 / harm.ALPHA), harm.restart_alarm(promised, limit, harm.ALPHA)
        self._overall = np.zeros((len(harm.STAKES), runs))
        self._recent = np.full((len(harm.STAKES), runs), -np.inf)
        self.alarmed, self.labels = np.zeros(runs, int), 0

    def run(self, error: float, labels: int, rng: np.random.Generator) -> None:
        for _ in range(labels):
            self.labels += 1
            moved = np.where(rng.random(len(self.alarmed)) < error, *self._steps)
            self._overall += moved
            self._recent = np.logaddexp(self._recent, 0) + moved
            high = [
                np.logaddexp.reduce(held, 0) - math.log(len(held)) >= level
                for held, level in zip((self._overall, self._recent), self._levels, strict=True)
            ]
            self.alarmed[(self.alarmed == 0) & (high[0] | high[1])] = self.labels


def fed(wrong: list[bool] | np.ndarray, test: HarmTest | None = None) -> list[Harm]:
    test = test or HarmTest(PROMISED, TOLERANCE)
    return [test.update(bool(one)) for one in wrong]


def draws(error: float, labels: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).random(labels) < error


@pytest.mark.parametrize(("error", "most"), [(0.15, 210), (0.25, 50)])
def test_a_fall_after_2000_clean_labels_is_seen_soon(error: float, most: int):
    streams, rng = Streams(1000), np.random.default_rng(1)
    streams.run(PROMISED, 2000, rng)
    false = (streams.alarmed > 0).mean()
    streams.run(error, 4 * most, rng)
    delays = np.where(streams.alarmed > 0, streams.alarmed - 2000, np.inf)
    assert false < 0.01
    assert np.median(delays) <= most


def test_at_most_one_in_a_hundred_cries_wolf_in_5000_clean_labels():
    streams = Streams(3000)
    streams.run(PROMISED, 5000, np.random.default_rng(2))
    assert (streams.alarmed > 0).mean() <= 0.01


def test_a_model_at_its_limit_is_seldom_called_harmful():
    streams = Streams(1000)
    streams.run(LIMIT, 5000, np.random.default_rng(3))
    assert (streams.alarmed > 0).mean() <= harm.AT_LIMIT + harm.ALPHA + 0.03


@pytest.mark.parametrize(("promised", "tolerance"), [(0.002, 0.02), (0.178, 0.02), (0.03, 0.0)])
def test_the_level_holds_for_other_promises(promised: float, tolerance: float):
    streams = Streams(2000, promised, tolerance)
    streams.run(promised, 5000, np.random.default_rng(4))
    assert (streams.alarmed > 0).mean() <= 0.02


def test_one_stream_at_a_time_comes_to_the_same_as_many():
    """What the simulations above found holds for the test that serves: after a long clean past, too."""
    streams, rng = Streams(1), np.random.default_rng(5)
    streams.run(PROMISED, 2000, rng)
    streams.run(0.2, 500, rng)
    rng = np.random.default_rng(5)
    wrong = np.concatenate([rng.random(2000) < PROMISED, rng.random(500) < 0.2])
    states = fed(wrong)
    first = next(n for n, one in enumerate(states, 1) if one.verdict == "harmful")
    assert first == streams.alarmed[0] > 2000


@pytest.mark.parametrize("seed", range(5))
def test_good_labels_show_that_there_is_no_harm(seed: int):
    states = fed(draws(0.03, 3000, seed))
    assert states[99].verdict == "unknown"
    assert states[-1].verdict == "harmless"
    assert states[-1].labels_to_harmless == 0


def test_what_is_said_to_be_missing_is_about_what_it_takes():
    first = HarmTest(PROMISED, TOLERANCE).state().labels_to_harmless
    took = [
        next(
            n for n, one in enumerate(fed(draws(PROMISED, 8000, s)), 1) if one.verdict != "unknown"
        )
        for s in range(20)
    ]
    assert 0.5 * first < np.median(took) < 2 * first


def test_a_model_that_gets_worse_is_harmful_and_one_that_recovers_is_harmless_again():
    states = fed(np.concatenate([draws(0.03, 2000, 1), draws(0.4, 100, 2), draws(0.02, 3000, 3)]))
    verdicts = [one.verdict for one in states]
    changes = [now for before, now in itertools.pairwise(verdicts) if before != now]
    assert changes == ["harmless", "harmful", "harmless"]


def test_who_recovered_can_do_harm_again():
    again = np.concatenate([draws(0.4, 100, 2), draws(0.02, 3000, 3), draws(0.4, 100, 4)])
    assert fed(again)[-1].verdict == "harmful"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.booleans(), max_size=200), st.integers(0, 200))
def test_labels_read_again_in_their_order_make_the_same_state(wrong: list[bool], cut: int):
    test = HarmTest(PROMISED, TOLERANCE)
    fed(wrong[:cut], test)
    fed(wrong[cut:], test)
    other = HarmTest(PROMISED, TOLERANCE)
    fed(wrong, other)
    assert test.state() == other.state()
    assert test.state().labels == len(wrong)


@pytest.mark.parametrize("promised", [0.0, 1.0, 0.999])
def test_any_promise_can_be_tested(promised: float):
    states = fed([True] * 3000 + [False] * 3000, HarmTest(promised, TOLERANCE))
    assert all(math.isfinite(one.overall.log) and math.isfinite(one.recent.log) for one in states)


def test_a_bet_is_fair_at_the_limit():
    for limit in (0.01, 0.07, 0.5):
        wins, losses = (np.exp(one) for one in harm.odds(limit, harm.STAKES))
        assert limit * wins + (1 - limit) * losses == pytest.approx(1)
