import numpy as np
import pytest

from models import tasks
from models.profile.images import ImageSignals


def told(pictures: np.ndarray) -> dict[str, np.ndarray]:
    """Each signal of pictures [rows, channels, height, width]."""
    _, channels, height, width = pictures.shape
    signals = ImageSignals(tasks.ImageTask("image", height, width, channels))
    values = signals.values({"image": pictures.astype(np.float32)}, len(pictures))
    assert values.dtype == np.float32
    return dict(zip(signals.names, values.T, strict=True))


def pictures(rows: int = 8, channels: int = 1, size: int = 28) -> np.ndarray:
    """Smooth waves in the middle of black frames."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[0:size, 0:size] / size
    phase = rng.random((rows, channels, 1, 1)) * 6
    inside = (abs(x - 0.5) < 0.3) & (abs(y - 0.5) < 0.3)
    return np.where(inside, 0.5 + 0.4 * np.sin(5 * x + 3 * y + phase), 0)


def test_brightness_and_contrast_are_mean_and_deviation_where_every_pixel_is_seen() -> None:
    flat = np.full((2, 1, 8, 8), 0.25)
    signals = told(flat)
    np.testing.assert_allclose(signals["brightness"], 0.25)
    np.testing.assert_allclose(signals["contrast"], 0, atol=1e-6)


def test_black_and_white_pixels_are_counted() -> None:
    half = np.zeros((1, 1, 8, 8))
    half[:, :, :4] = 1
    signals = told(half)
    assert signals["dark"] == signals["saturated"] == 0.5


@pytest.mark.parametrize("sigma", [1, 10, 100])
def test_noise_is_seen_in_a_single_picture_however_faint(sigma: float) -> None:
    clean = pictures()
    noisy = np.clip(clean + np.random.default_rng(2).normal(0, sigma / 255, clean.shape), 0, 1)
    assert (told(clean)["noise"] == 0).all()
    assert (told(noisy)["noise"] > 0).all()


def test_a_blurred_picture_is_less_sharp() -> None:
    clean = np.random.default_rng(3).random((4, 1, 28, 28))
    blurred = (clean + np.roll(clean, 1, axis=3) + np.roll(clean, -1, axis=3)) / 3
    assert (told(blurred)["sharpness"] < 0.7 * told(clean)["sharpness"]).all()


def test_the_centre_follows_the_light() -> None:
    spot = np.zeros((2, 1, 28, 28))
    spot[0, :, 2:5, 20:25] = 1
    spot[1, :, 20:25, 2:5] = 1
    signals = told(spot)
    assert signals["centre_x"][0] > 0.4 > -0.4 > signals["centre_x"][1]
    assert signals["centre_y"][1] > 0.4 > -0.4 > signals["centre_y"][0]


def test_a_mirrored_picture_tilts_the_other_way() -> None:
    line = np.eye(29)[None, None]
    one, other = told(line)["tilt"], told(line[..., ::-1])["tilt"]
    np.testing.assert_allclose(one, -other, atol=1e-2)
    assert one > 0.1


def test_a_black_picture_has_its_light_in_the_middle() -> None:
    signals = told(np.zeros((1, 1, 28, 28)))
    assert signals["centre_x"] == signals["centre_y"] == signals["tilt"] == 0
    assert all(np.isfinite(value).all() for value in signals.values())


def test_colours_have_a_mean_each() -> None:
    red = np.zeros((1, 3, 16, 16))
    red[:, 0] = 0.75
    signals = told(red)
    assert (signals["red"], signals["green"], signals["blue"]) == (0.75, 0, 0)


def test_large_pictures_are_looked_at_through_a_grid_and_tell_about_the_same() -> None:
    small, large = told(pictures(size=32)), told(pictures(size=224))
    for name in ("brightness", "contrast", "dark", "centre_x", "centre_y", "spread_x"):
        np.testing.assert_allclose(small[name], large[name], atol=0.05)


def test_a_row_does_not_depend_on_the_others() -> None:
    rows = pictures(5)
    together = told(rows)
    for index in range(5):
        apart = told(rows[index : index + 1])
        for name, value in apart.items():
            np.testing.assert_allclose(value[0], together[name][index], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(3, 3), (4, 9), (1, 5)])
def test_tiny_pictures_have_finite_signals(size: tuple[int, int]) -> None:
    signals = told(np.random.default_rng(0).random((2, 1, *size)))
    assert all(np.isfinite(value).all() for value in signals.values())
