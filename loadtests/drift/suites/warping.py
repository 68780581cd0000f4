"""Pictures float32 [rows, height, width] turned, moved, scaled and blurred, each row by its own amount. numpy alone."""

from typing import NamedTuple

import numpy as np


class Motion(NamedTuple):
    """What happens to each row: arrays [rows]. Angles in radians, moves in shares of the side, shear as a slope, zoom as a factor."""

    angle: np.ndarray
    down: np.ndarray
    right: np.ndarray
    shear: np.ndarray
    zoom: np.ndarray
    flip_columns: np.ndarray
    flip_rows: np.ndarray


def still(rows: int) -> Motion:
    """Nothing happens."""
    zeros, no = np.zeros(rows), np.zeros(rows, dtype=bool)
    return Motion(zeros, zeros, zeros, zeros, np.ones(rows), no, no)


def moved(images: np.ndarray, motion: Motion, fill: float | None = None) -> np.ndarray:
    """The pictures after it. What comes from outside repeats the edge, or is `fill`."""
    rows, height, width = images.shape
    y, x = np.mgrid[:height, :width].reshape(2, -1) - np.array(
        [[(height - 1) / 2], [(width - 1) / 2]]
    )
    cos, sin = np.cos(motion.angle)[:, None], np.sin(motion.angle)[:, None]
    y_sign = np.where(motion.flip_rows, -1, 1)[:, None]
    x_sign = np.where(motion.flip_columns, -1, 1)[:, None]
    y, x = y_sign * y[None], x_sign * x[None]
    x = x + motion.shear[:, None] * y
    zoom = motion.zoom[:, None]
    source_y = (cos * y + sin * x) / zoom + (height - 1) / 2 - motion.down[:, None] * height
    source_x = (cos * x - sin * y) / zoom + (width - 1) / 2 - motion.right[:, None] * width
    return sampled(images, source_y, source_x, fill).reshape(rows, height, width)


def sampled(
    images: np.ndarray, y: np.ndarray, x: np.ndarray, fill: float | None = None
) -> np.ndarray:
    """Values at the places y, x [rows, points], between pixels by bilinear interpolation."""
    rows, height, width = images.shape
    outside = (y < -0.5) | (y > height - 0.5) | (x < -0.5) | (x > width - 0.5)
    y, x = y.clip(0, height - 1), x.clip(0, width - 1)
    top, left = y.astype(np.intp), x.astype(np.intp)
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    flat = images.reshape(rows, -1)
    down, across = (y - top).astype(np.float32), (x - left).astype(np.float32)

    def at(line: np.ndarray, column: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.take_along_axis(flat, line * width + column, axis=1)
        return found

    upper = at(top, left) * (1 - across) + at(top, right) * across
    lower = at(bottom, left) * (1 - across) + at(bottom, right) * across
    values: np.ndarray = upper * (1 - down) + lower * down
    return values if fill is None else np.where(outside, np.float32(fill), values)


def blurred(images: np.ndarray, sigma: float) -> np.ndarray:
    """A Gaussian blur."""
    reach = max(1, int(np.ceil(3 * sigma)))
    steps = np.arange(-reach, reach + 1)
    kernel = np.exp(-(steps**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    return along(along(images, kernel, 1), kernel, 2)


def along(images: np.ndarray, kernel: np.ndarray, axis: int) -> np.ndarray:
    """Convolved with a kernel of odd length along one axis; edges repeat."""
    reach = len(kernel) // 2
    pad = [(0, 0)] * 3
    pad[axis] = (reach, reach)
    wide = np.pad(images, pad, mode="edge")
    size = images.shape[axis]
    out = np.zeros_like(images)
    for step, weight in enumerate(kernel):
        part = [slice(None)] * 3
        part[axis] = slice(step, step + size)
        out += np.float32(weight) * wide[tuple(part)]
    return out


def smooth_noise(shape: tuple[int, ...], sigma: float, rng: np.random.Generator) -> np.ndarray:
    """A random field for each row, blurred, with mean 0 and deviation 1."""
    field = blurred(rng.standard_normal(shape).astype(np.float32), sigma)
    field -= field.mean(axis=(1, 2), keepdims=True)
    scaled: np.ndarray = field / field.std(axis=(1, 2), keepdims=True)
    return scaled
