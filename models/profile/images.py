"""Signals of pictures: how light, how sharp, how noisy they are, and where the light lies. float32 [rows, channels, height, width], 0..1.

Large pictures are looked at through a grid of about GRID x GRID places; neighbours are read at full resolution, so that sharpness and
noise keep their meaning.
"""

import math

import numpy as np

from models.tasks import ImageTask

GRID = 32
TILE = 3
"""Noise is read in the calmest TILE x TILE places of a picture, where there is least else to see."""
LEVEL = 0.5 / 255
"""Half a step of an 8-bit picture."""
COLOURS = ("red", "green", "blue")


class ImageSignals:
    """Brightness, contrast, sharpness and the like of a batch of pictures."""

    def __init__(self, task: ImageTask) -> None:
        self.input = task.input
        self._step = max(1, round(math.sqrt(task.height * task.width) / GRID))
        self._columns = range(0, task.width - 2, self._step)
        self._rows = range(0, task.height, self._step)
        self._powers = powers(len(self._columns)), powers(len(self._rows))
        self._colour = task.channels == 3
        self.names: tuple[str, ...] = (
            "brightness",
            "contrast",
            "dark",
            "saturated",
            "sharpness",
            "noise",
            "gradient",
            "centre_x",
            "centre_y",
            "spread_x",
            "spread_y",
            "tilt",
            *(COLOURS if self._colour else ()),
        )

    def values(self, inputs: dict[str, np.ndarray], rows: int) -> np.ndarray:
        """float32 [rows, signals]."""
        pictures = inputs[self.input]
        wide, step = pictures.shape[3], self._step
        lines = pictures[:, :, ::step]
        left, middle, right = (
            lines[:, :, :, offset : wide - 2 + offset : step] for offset in (0, 1, 2)
        )
        colours = []
        if self._colour:
            colours = list(middle.mean(axis=(2, 3)).T)
            left, middle, right = left[:, 1], middle[:, 1], right[:, 1]
        else:
            left, middle, right = left[:, 0], middle[:, 0], right[:, 0]
        light = np.ascontiguousarray(middle)
        curve = np.abs(left + right - 2 * light)
        slope = np.abs(right - left)
        flat, size = light.reshape(rows, -1), light[0].size
        columns = [
            flat.mean(axis=1),
            flat.std(axis=1),
            np.count_nonzero(flat < LEVEL, axis=1) / size,
            np.count_nonzero(flat > 1 - LEVEL, axis=1) / size,
            curve.reshape(rows, -1).mean(axis=1),
            calmest(curve),
            slope.reshape(rows, -1).mean(axis=1),
            *self._places(light),
            *colours,
        ]
        return np.stack(columns, axis=1).astype(np.float32)

    def _places(self, light: np.ndarray) -> list[np.ndarray]:
        """Where the light lies: centre, spread and tilt, from -1 to 1. A black picture has its light in the middle."""
        across, down = self._powers
        # Products this small stay on one thread, whatever the library would like.
        lines = (light.reshape(-1, len(across)) @ across).reshape(len(light), -1, 3)
        sums = np.einsum("rhi,hj->rji", lines, down)
        whole = np.maximum(sums[:, 0, 0], 1e-6)
        x, xx, y, yy, xy = (
            sums[:, j, i] / whole for j, i in ((0, 1), (0, 2), (1, 0), (2, 0), (1, 1))
        )
        return [x, y, spread(x, xx), spread(y, yy), xy - x * y]


def calmest(curve: np.ndarray) -> np.ndarray:
    """The smallest mean of a tile [rows]. Lines and columns that fill no tile are left out, unless there is no tile at all."""
    rows, high, wide = curve.shape
    tall, broad = min(TILE, high), min(TILE, wide)
    # The columns of a tile first: a product this small stays on one thread, and nothing adds up neighbours faster.
    strips = curve[:, : high // tall * tall, : wide // broad * broad].reshape(-1, broad)
    means = (strips @ np.full(broad, 1 / broad, np.float32)).reshape(
        rows, high // tall, tall, wide // broad
    )
    found: np.ndarray = means.mean(axis=2).reshape(rows, -1).min(axis=1)
    return found


def powers(size: int) -> np.ndarray:
    """[size, 3]: 1, x, x^2 of places from -1 to 1."""
    places = np.linspace(-1, 1, size, dtype=np.float32)
    return np.stack([np.ones_like(places), places, places**2], axis=1)


def spread(mean: np.ndarray, square: np.ndarray) -> np.ndarray:
    """The deviation, from the means of a value and of its square."""
    found: np.ndarray = np.sqrt(np.maximum(square - mean * mean, 0))
    return found
