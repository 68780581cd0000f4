"""What the changes of pictures, series and texts do, and leave alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.drift.suites import corruptions, pictures, series, texts
from loadtests.drift.suites.warping import blurred, moved, still

PICTURES = {**pictures.CHANGES, **corruptions.CHANGES}
DEVIATION = np.array([1, 2], dtype=np.float32)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def images(rng: np.random.Generator) -> np.ndarray:
    return blurred(rng.random((5, 28, 28)).astype(np.float32), 1.0)


@pytest.mark.parametrize("name", PICTURES)
def test_changed_pictures_are_other_pictures_of_the_same_kind(
    name: str, images: np.ndarray, rng: np.random.Generator
) -> None:
    before = images.copy()
    after = PICTURES[name](images, rng)
    assert (after.shape, after.dtype) == (images.shape, np.float32)
    assert after.min() >= 0
    assert after.max() <= 1
    assert (after != images).any(axis=(1, 2)).all()
    np.testing.assert_array_equal(images, before)


@pytest.mark.parametrize("name", PICTURES)
def test_the_same_seed_gives_the_same_pictures(name: str, images: np.ndarray) -> None:
    first, second = (PICTURES[name](images, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_there_are_fifteen_corruptions() -> None:
    assert len(corruptions.CHANGES) == 15


def test_a_picture_that_is_not_moved_stays_as_it_is(images: np.ndarray) -> None:
    np.testing.assert_allclose(moved(images, still(len(images))), images, atol=1e-6)


def test_a_picture_is_moved_by_shares_of_its_side() -> None:
    image = np.zeros((1, 28, 28), dtype=np.float32)
    image[0, 10, 12] = 1
    motion = still(1)._replace(down=np.array([4 / 28]), right=np.array([-3 / 28]))
    after = moved(image, motion, fill=0)
    assert np.unravel_index(after.argmax(), after.shape) == (0, 14, 9)
    assert after.max() == pytest.approx(1)


def test_two_quarter_turns_are_both_flips(images: np.ndarray) -> None:
    five, yes = len(images), np.full(len(images), True)
    turned = moved(images, still(five)._replace(angle=np.full(five, np.pi)))
    flipped = moved(images, still(five)._replace(flip_columns=yes, flip_rows=yes))
    np.testing.assert_allclose(turned, flipped, atol=1e-4)


@pytest.mark.parametrize("name", series.CHANGES)
def test_a_changed_series_is_as_long_as_before(name: str, rng: np.random.Generator) -> None:
    window = rng.standard_normal((60, 2)).cumsum(axis=0).astype(np.float32)
    before = window.copy()
    after = series.CHANGES[name](window, DEVIATION, rng)
    assert after.shape == window.shape
    assert np.isfinite(after).all()
    assert (after != window).any()
    np.testing.assert_array_equal(window, before)


def test_faster_movement_has_a_higher_frequency(rng: np.random.Generator) -> None:
    wave = np.sin(2 * np.pi * np.arange(200) / 40)[:, None].astype(np.float32)
    faster = series.frequency(wave, DEVIATION[:1], rng)[:160]
    turns = (np.diff(np.sign(faster[:, 0])) != 0).sum() / (
        np.diff(np.sign(wave[:160, 0])) != 0
    ).sum()
    assert turns == pytest.approx(1.2, abs=0.15)


def test_a_frozen_sensor_repeats_one_reading(rng: np.random.Generator) -> None:
    window = rng.standard_normal((100, 2)).astype(np.float32)
    after = series.frozen(window, DEVIATION, rng)
    assert (np.diff(after, axis=0) == 0).all(axis=1).sum() == 40


@given(st.text(min_size=1, max_size=80), st.integers(0, 100))
def test_texts_survive_every_change_as_texts(text: str, seed: int) -> None:
    for change in texts.CHANGES.values():
        assert isinstance(change(text, [text], np.random.default_rng(seed)), str)


def test_typos_hit_about_their_share_of_letters(rng: np.random.Generator) -> None:
    text = "abcdefghij" * 200
    without = sum(texts.typos(0.0)(text, [], rng) == text for _ in range(3))
    assert without == 3
    letters = texts.typos(1.0)(text, [], rng)
    assert letters != text


def test_truncation_keeps_the_first_half_of_the_words(rng: np.random.Generator) -> None:
    assert texts.truncated("one two three four five", [], rng) == "one two"
    assert texts.truncated("one", [], rng) == "one"
