"""Fifteen corruptions after MNIST-C (Mu & Gilmer 2019) at about its severity 3, written anew. Pictures float32 [rows, height, width], 0..1."""

from collections.abc import Mapping

import numpy as np

from loadtests.drift.suites.pictures import Change
from loadtests.drift.suites.warping import blurred, moved, sampled, smooth_noise, still


def shot_noise(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (rng.poisson(images * 12) / 12).clip(0, 1).astype(np.float32)


def impulse_noise(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    drawn = rng.random(images.shape)
    return np.where(drawn < 0.045, 0, np.where(drawn > 0.955, 1, images)).astype(np.float32)


def glass_blur(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    rows, height, width = images.shape
    y, x = np.mgrid[:height, :width].reshape(2, 1, -1) + np.zeros((1, rows, 1))
    y, x = (place + rng.integers(-2, 3, place.shape) for place in (y, x))
    return blurred(sampled(blurred(images, 0.7), y, x).reshape(images.shape), 0.5)


def motion_blur(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(-np.pi / 4, np.pi / 4, len(images))
    motion = still(len(images))
    parts = [
        moved(
            images,
            motion._replace(down=np.sin(angle) * step / 28, right=np.cos(angle) * step / 28),
        )
        for step in range(-3, 4)
    ]
    smeared: np.ndarray = np.stack(parts).mean(axis=0, dtype=np.float32)
    return smeared


def sheared(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    sign = rng.choice([-1.0, 1.0], len(images))
    return moved(images, still(len(images))._replace(shear=0.4 * sign), fill=0)


def scaled(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return moved(images, still(len(images))._replace(zoom=np.full(len(images), 0.65)), fill=0)


def rotated(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    sign = rng.choice([-1.0, 1.0], len(images))
    return moved(images, still(len(images))._replace(angle=np.deg2rad(30) * sign), fill=0)


def brightness(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return (images + np.float32(0.3)).clip(0, 1)


def translated(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    angle = rng.uniform(0, 2 * np.pi, len(images))
    motion = still(len(images))._replace(down=np.sin(angle) * 5 / 28, right=np.cos(angle) * 5 / 28)
    return moved(images, motion, fill=0)


def stripe(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    out = images.copy()
    out[:, :, 9:13] = 1 - out[:, :, 9:13]
    return out


def fog(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    haze = np.zeros_like(images)
    for sigma in (2.0, 4.0, 8.0):
        haze += sigma * smooth_noise(images.shape, sigma, rng)
    haze = (haze - haze.min((1, 2), keepdims=True)) / np.ptp(haze, axis=(1, 2), keepdims=True)
    highest = images.max((1, 2), keepdims=True)
    veiled = (images + np.float32(1.2) * haze) * highest / (highest + np.float32(1.2))
    found: np.ndarray = veiled.clip(0, 1).astype(np.float32)
    return found


def spatter(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    drops = (smooth_noise(images.shape, 1.2, rng) - 1.4).clip(0, 1)
    return (images + drops.astype(np.float32)).clip(0, 1)


def dotted_line(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return drawn_line(images, rng, bends=0, dotted=True)


def zigzag(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return drawn_line(images, rng, bends=4, dotted=False)


def canny_edges(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    y, x = np.gradient(blurred(images, 1.0), axis=(1, 2))
    edges: np.ndarray = (np.hypot(y, x) > 0.12).astype(np.float32)
    return edges


def drawn_line(
    images: np.ndarray, rng: np.random.Generator, *, bends: int, dotted: bool
) -> np.ndarray:
    """A light line from the left edge to the right one, straight or bent."""
    rows, height, width = images.shape
    corners = rng.uniform(2, height - 3, (rows, bends + 2))
    places = np.linspace(0, bends + 1, 2 * width)
    before = np.minimum(places.astype(int), bends)
    y = corners[:, before] * (1 - places + before) + corners[:, before + 1] * (places - before)
    x = np.broadcast_to(np.arange(2 * width) // 2, y.shape)
    keep = (np.arange(2 * width) // 4) % 2 == 0 if dotted else np.full(2 * width, True)
    out = images.copy()
    row = np.broadcast_to(np.arange(rows)[:, None], y.shape)
    out[row[:, keep], y.round().astype(int)[:, keep], x[:, keep]] = 1
    return out


CHANGES: Mapping[str, Change] = {
    "shot noise": shot_noise,
    "impulse noise": impulse_noise,
    "glass blur": glass_blur,
    "motion blur": motion_blur,
    "shear": sheared,
    "scale": scaled,
    "rotate": rotated,
    "brightness": brightness,
    "translate": translated,
    "stripe": stripe,
    "fog": fog,
    "spatter": spatter,
    "dotted line": dotted_line,
    "zigzag": zigzag,
    "canny edges": canny_edges,
}
