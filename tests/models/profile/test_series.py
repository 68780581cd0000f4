import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models import tasks
from models.profile.series import SeriesSignals

TASK = tasks.SeriesTask("series", "lengths", ("x", "y"), 3, 60, 50.0)


def told(series: np.ndarray, lengths: list[int] | None = None) -> dict[str, np.ndarray]:
    """Each signal of series [rows, time, 2]."""
    signals = SeriesSignals(TASK)
    given = np.array(lengths or [series.shape[1]] * len(series), dtype=np.int32)
    values = signals.values({"series": series.astype(np.float32), "lengths": given}, len(series))
    assert values.dtype == np.float32
    return dict(zip(signals.names, values.T, strict=True))


def noise(rows: int = 4, time: int = 60) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, time, 2))


@given(st.integers(3, 40), st.integers(0, 20), st.floats(-5, 5))
def test_what_stands_behind_the_end_never_counts(length: int, more: int, rubbish: float) -> None:
    series = noise(3, length)
    padded = np.concatenate([series, np.full((3, more, 2), rubbish)], axis=1)
    alone, together = told(series), told(padded, [length] * 3)
    for name, value in alone.items():
        np.testing.assert_allclose(together[name], value, rtol=1e-3, atol=1e-4)


def test_mean_and_deviation_are_told_per_channel() -> None:
    series = 3 * noise() + [10, -20]
    signals = told(series)
    np.testing.assert_allclose(signals["mean_x"], series[..., 0].mean(axis=1), rtol=1e-4)
    np.testing.assert_allclose(signals["deviation_y"], series[..., 1].std(axis=1), rtol=1e-4)


def test_slow_waves_are_smooth_and_low_and_noise_is_neither() -> None:
    slow = np.sin(np.arange(60) / 60 * 2 * np.pi * 1.5)[None, :, None] * np.ones((1, 1, 2))
    wave, rough = told(slow), told(noise())
    assert wave["smoothness"] > 0.95 > 0.3 > rough["smoothness"].max()
    assert wave["low_band"] > 0.9 > 0.6 > rough["low_band"].max()
    assert (wave["spectral_entropy"] < rough["spectral_entropy"]).all()


def test_a_spike_is_the_largest_jump() -> None:
    spiked = noise()
    spiked[:, 30, 0] += 40
    assert (told(spiked)["largest_jump"] > 1.5 * told(noise())["largest_jump"]).all()


def test_a_sensor_that_freezes_is_constant_for_that_share() -> None:
    frozen = noise(2, 41)
    frozen[:, 20:] = frozen[:, 20:21]
    np.testing.assert_allclose(told(frozen)["constant"], 0.5)
    assert (told(noise())["constant"] == 0).all()


def test_numbers_that_are_none_are_missing_and_spoil_nothing_else() -> None:
    holed = noise()
    holed[:, 10:16, 0] = np.nan
    holed[:, 3, 1] = np.inf
    signals = told(holed)
    np.testing.assert_allclose(signals["missing"], 7 / 120)
    assert all(np.isfinite(value).all() for value in signals.values())


def test_a_series_without_movement_has_finite_signals() -> None:
    signals = told(np.ones((2, 10, 2)))
    assert all(np.isfinite(value).all() for value in signals.values())
    assert (signals["constant"] == 1).all()


def test_the_length_is_a_signal() -> None:
    np.testing.assert_array_equal(told(noise(2, 30), [30, 12])["length"], [30, 12])
