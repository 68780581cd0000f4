from pathlib import Path

import made
import msgspec
import numpy as np
import pytest

from models import profile
from models.errors import InputError
from models.profile import calibration
from models.profile.profile import Layout, Profile, Signal


def test_a_window_holds_at_most_a_third_of_the_reference() -> None:
    assert profile.admitted(300) == (100,)
    assert profile.admitted(1499) == (100, 200)
    assert profile.admitted(1500) == (100, 200, 500)
    assert profile.admitted(1_000_000) == profile.SIZES


def test_too_small_a_reference_is_refused_with_both_numbers() -> None:
    with pytest.raises(
        InputError, match=r"299 rows is too small: windows of 100 need at least 300"
    ):
        profile.admitted(299)


def test_a_larger_window_holds_the_smaller_one() -> None:
    layout = Layout((Signal("s", "input", (0.0, 1.0, 2.0), ()),))
    bins = layout.bins(np.random.default_rng(0).uniform(0, 3, (700, 1)))
    windows = calibration.drawn(layout, bins, (100, 200), 20, [1, 0])
    assert (windows[200] >= windows[100]).all()
    assert (windows[100].sum(axis=1) == 100).all()
    assert (windows[200].sum(axis=1) == 200).all()
    assert (windows[200] <= layout.counts(bins)).all()


def test_the_null_depends_on_the_seed_alone(reference: Profile) -> None:
    again = made.profile()
    other = made.profile(about=msgspec.structs.replace(made.ABOUT, seed=2))
    assert again.nulls == reference.nulls
    assert other.nulls != reference.nulls


def test_thresholds_rise_as_alarms_get_rarer(reference: Profile) -> None:
    for null in reference.nulls:
        p, values = np.array(null.largest).T
        assert (np.diff(p) < 0).all()
        assert (np.diff(values) >= 0).all()


def test_progress_is_told_up_to_the_end() -> None:
    layout = Layout((Signal("s", "input", (0.0,), ()),))
    bins = layout.bins(np.random.default_rng(0).normal(size=(300, 1)))
    told: list[tuple[int, int]] = []
    calibration.nulls(layout, bins, 600, 1, lambda *done: told.append(done))
    assert told == [(250, 600), (500, 600), (600, 600)]


def test_false_alarms_are_as_rare_as_promised() -> None:
    """Held-out rows are split into reference and traffic, again and again: alpha .05 must mean .05."""
    alarms = []
    rows = made.batch(1200, seed=9)
    for split in range(20):
        order = np.random.default_rng(split).permutation(1200)
        parts = [
            profile.Batch(
                {name: array[chosen] for name, array in rows.inputs.items()},
                {name: array[chosen] for name, array in rows.outputs.items()},
            )
            for chosen in (order[:600], order[600:])
        ]
        about = msgspec.structs.replace(made.ABOUT, seed=split, resamples=500)
        known = profile.build(made.manifest(), Path(), parts[:1], about)
        panel = profile.panel(made.manifest(), Path(), known)
        bins = known.bins(panel.values(parts[1].inputs, parts[1].outputs))
        for start in range(0, 600, 100):
            counts = known.counts(bins[start : start + 100])
            alarms.append(profile.compare(known, counts, 100).p < 0.05)
    # 120 windows: chance alone makes it .02 either way.
    assert np.mean(alarms) == pytest.approx(0.05, abs=0.045)
