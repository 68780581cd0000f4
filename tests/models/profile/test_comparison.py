from pathlib import Path

import made
import msgspec
import numpy as np
import pytest

from models import profile
from models.profile import Profile, calibration, comparison


def window(reference: Profile, rows: profile.Batch) -> np.ndarray:
    signals = profile.panel(made.manifest(), Path(), reference)
    return reference.bins(signals.values(rows.inputs, rows.outputs))


def test_rows_like_the_reference_raise_no_alarm(reference: Profile) -> None:
    bins = window(reference, made.batch(200, seed=5))
    found = profile.compare(reference, reference.counts(bins), 200)
    assert found.p > 0.05
    assert (found.samples, found.reference) == (200, 900)
    assert {one.name for one in found.signals} == set(reference.names)
    assert all(one.statistic <= one.threshold for one in found.signals)


def test_lighter_pictures_are_seen_and_named(reference: Profile) -> None:
    rows = made.batch(200, seed=5)
    rows.inputs["image"][:] += 0.1
    found = profile.compare(reference, reference.counts(window(reference, rows)), 200)
    assert found.p < 0.01
    first = found.signals[0]
    assert first.name in ("brightness", "saturated")
    told = {one.name: one for one in found.signals}["brightness"]
    assert told.shift > 1
    assert told.statistic > told.threshold
    assert told.p < 0.05
    assert told.w1 == pytest.approx(0.1, abs=0.03)
    assert told.psi > 0.2
    assert told.js > 0.2


def test_the_signal_that_was_moved_comes_first(reference: Profile) -> None:
    clean = window(reference, made.batch(200, seed=5))
    rng = np.random.default_rng(0)
    for index, signal in enumerate(reference.signals):
        moved = clean.copy()
        half = rng.random(200) < 0.5
        moved[half, index] = len(signal.edges) - 1 if signal.ordered else 1
        found = profile.compare(reference, reference.counts(moved), 200)
        assert found.signals[0].name == signal.name


def test_a_class_that_vanishes_is_seen_without_an_order_of_classes(reference: Profile) -> None:
    bins = window(reference, made.batch(600, seed=5))
    place = reference.names.index("class")
    kept = bins[bins[:, place] != 2][:200]
    found = profile.compare(reference, reference.counts(kept), 200)
    told = {one.name: one for one in found.signals}["class"]
    assert told.p < 0.01
    assert told.shift is None


def test_missing_values_are_a_shift_like_any_other(reference: Profile) -> None:
    rows = made.batch(200, seed=5)
    del rows.outputs["embedding"]
    found = profile.compare(reference, reference.counts(window(reference, rows)), 200)
    assert found.p < 0.01
    assert {one.kind for one in found.signals[:8]} == {"embedding"}


def test_a_single_row_that_was_never_seen_is_no_alarm(reference: Profile) -> None:
    """A signal that never varied has no chance distribution of its own."""
    constant = msgspec.structs.replace(
        reference.signals[0], edges=(0.0, 1e-45), counts=(0, 900, 0, 0)
    )
    known = msgspec.structs.replace(reference, signals=(constant, *reference.signals[1:]))
    known = msgspec.structs.replace(
        known,
        nulls=calibration.nulls(known.layout, window_of(known, made.batch(900)), 1000, 1),
    )
    bins = window(reference, made.batch(200, seed=5))
    for strange, alarm in ((0, False), (1, False), (20, True)):
        bins[:, 0] = 1
        bins[:strange, 0] = 2
        found = profile.compare(known, known.counts(bins), 200)
        assert (found.p < 0.05) == alarm


def window_of(known: Profile, rows: profile.Batch) -> np.ndarray:
    """The reference's own bins, with the first signal always at 0."""
    signals = profile.panel(made.manifest(), Path(), known)
    values = signals.values(rows.inputs, rows.outputs)
    values[:, 0] = 0
    return known.bins(values)


@pytest.mark.parametrize("n", [99, 201, 5000])
def test_windows_beyond_the_admitted_sizes_are_refused(reference: Profile, n: int) -> None:
    with pytest.raises(
        ValueError, match=rf"a window of {n} rows, this reference admits \(100, 200\)"
    ):
        profile.compare(reference, reference.reference, n)


def test_p_falls_as_the_evidence_grows_and_stops_where_resampling_does(reference: Profile) -> None:
    null = reference.nulls[0]
    steps = [comparison.chance(null, value) for value in np.linspace(0, 30, 100)]
    assert steps[0] == 1
    assert (np.diff(steps) <= 0).all()
    assert steps[-1] == pytest.approx(null.largest[-1][0])
    assert comparison.chance(null, comparison.at(null, 0.05)) == pytest.approx(0.05)
