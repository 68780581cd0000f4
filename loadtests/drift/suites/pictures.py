"""The changes of Rabanser et al. (2019, "Failing Loudly") to pictures float32 [rows, height, width], 0..1.

Gaussian noise of deviation 1, 10 and 100 on a scale of 0..255, and random turns, moves, shears, zooms and flips of three sizes. Their
code writes small shears in degrees, which a picture of 28 pixels does not show; here a shear is a slope.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from loadtests.drift.suites.warping import Motion, moved

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


class Reach(NamedTuple):
    """The most by which a picture is changed, either way."""

    degrees: float
    move: float
    shear: float
    zoom: float
    flip_columns: bool = False
    flip_rows: bool = False


REACHES = {
    "image small": Reach(10, 0.05, 0.1, 0.1),
    "image medium": Reach(40, 0.2, 0.2, 0.2, flip_columns=True),
    "image large": Reach(90, 0.4, 0.3, 0.4, flip_columns=True, flip_rows=True),
}
NOISES = {"noise small": 1.0, "noise medium": 10.0, "noise large": 100.0}


def noisy(deviation: float) -> Change:
    """Gaussian noise on every pixel, on a scale of 0..255."""

    def change(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        noise = rng.standard_normal(images.shape, dtype=np.float32) * np.float32(deviation / 255)
        noisier: np.ndarray = (images + noise).clip(0, 1)
        return noisier

    return change


def transformed(reach: Reach) -> Change:
    """Each picture by amounts drawn uniformly within `reach`."""

    def change(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        def drawn(most: float) -> np.ndarray:
            return rng.uniform(-most, most, len(images))

        motion = Motion(
            angle=np.deg2rad(drawn(reach.degrees)),
            down=drawn(reach.move),
            right=drawn(reach.move),
            shear=drawn(reach.shear),
            zoom=1 + drawn(reach.zoom),
            flip_columns=(rng.random(len(images)) < 0.5) & reach.flip_columns,
            flip_rows=(rng.random(len(images)) < 0.5) & reach.flip_rows,
        )
        return moved(images, motion)

    return change


CHANGES: Mapping[str, Change] = {name: noisy(deviation) for name, deviation in NOISES.items()} | {
    name: transformed(reach) for name, reach in REACHES.items()
}
