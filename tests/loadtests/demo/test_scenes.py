"""What is learnt from and what judges never share a sample."""

from pathlib import Path

import numpy as np
import pytest

from loadtests.demo import scenes
from loadtests.demo.scenes import JUDGED_STARTS, LEARNT_SHARE, WINDOW
from models.datasets import watch

REPOSITORY = Path(__file__).parents[3] / "models" / "repository"


def recording(samples: int, person: int = 8) -> watch.Recording:
    """Every sample is another number."""
    numbers = np.arange(samples, dtype=np.float32) + 10_000 * person
    return watch.Recording(np.repeat(numbers[:, None], 6, axis=1), 1, person)


def samples(windows: watch.Windows) -> set[float]:
    return {float(one) for series in windows.series for one in series[:, 0]}


def test_windows_of_one_start_follow_one_another_and_share_nothing():
    windows = scenes.cuts([recording(1050)], [0])
    assert [len(one) for one in windows.series] == [WINDOW] * 5
    assert len(samples(windows)) == 5 * WINDOW
    assert windows.labels.tolist() == [1] * 5


def test_what_is_learnt_ends_where_what_judges_begins():
    begun, ended = scenes.halves([recording(2000), recording(1500, 9)], LEARNT_SHARE)
    learnt, judged = scenes.cuts(begun, [0]), scenes.cuts(ended, JUDGED_STARTS)
    assert learnt.series
    assert judged.series
    assert not samples(learnt) & samples(judged)


def test_a_scene_of_people_has_enough_rows_for_a_window_of_traffic_and_for_the_policy():
    scene = scenes.new_people(REPOSITORY / "activity-lstm" / "1")
    assert len(scene.known) >= 100
    assert len(scene.changed) >= 200
    assert "8, 9 and 10" in scene.unusual
    rows = [{item.program for item in part} for part in scene[3:]]
    for index, part in enumerate(rows):
        assert not part & set().union(*rows[index + 1 :])


@pytest.mark.parametrize(("light", "mean"), [(1.0, 73), (0.4, 29)])
def test_a_camera_keeps_the_share_of_light_that_was_asked_for(light: float, mean: float):
    pictures = np.full((10, 28, 28), 73, dtype=np.uint8)
    dark = scenes.spoilt(pictures, light, 0.0, np.random.default_rng(1))
    assert dark.dtype == np.uint8
    assert dark.mean() == pytest.approx(mean, abs=0.5)


def test_numbers_are_listed_as_people_say_them():
    assert [scenes.listed(one) for one in ([8], [8, 9], [1, 2, 3])] == [
        "8",
        "8 and 9",
        "1, 2 and 3",
    ]
