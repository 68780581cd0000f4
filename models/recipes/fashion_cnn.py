"""fashion-cnn: a small convolutional network on Fashion-MNIST."""

from collections.abc import Iterator
from typing import Annotated, ClassVar

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from models import bundle, tasks
from models.datasets import fashion
from models.datasets.sources import digest
from models.recipes import Batch, Examples, Hyper, Recipe, Splits

MEAN, DEVIATION = 0.2860, 0.3530  # of the training pictures' pixels
SHIFT, HOLE = 2, 7


CHANGED, LIGHTEST = 0.3, 1.2
"""The share of training pictures that come from other cameras, where those are asked for, and the most light that these see."""


class FashionHyper(Hyper, frozen=True, kw_only=True):
    """`width` channels after the first convolution; twice and three times as many follow.

    In training some pictures come from other cameras: with `light` of their light or more, and noise of up to `noise` of the range.
    """

    width: int = 32
    light: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0
    noise: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0


class Pictures:
    """Rows of `image` float32 [1, 28, 28]. Training shifts, mirrors and covers parts: none of it makes a shirt a shoe."""

    def __init__(self, pictures: fashion.Pictures, hyper: FashionHyper | None = None) -> None:
        self.pictures = pictures
        self.hyper = hyper

    def __len__(self) -> int:
        return len(self.pictures.labels)

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        images, labels = self.pictures
        order = np.arange(len(self)) if rng is None else rng.permutation(len(self))
        # In training a last, small batch would make for a noisy step.
        last = len(self) if rng is None else max(size, len(self) // size * size)
        for start in range(0, last, size):
            chosen = order[start : start + size]
            rows = images[chosen] if rng is None else augmented(images[chosen], rng)
            if rng is not None and self.hyper is not None:
                rows = seen_otherwise(rows, self.hyper, rng)
            yield {"image": rows[:, None].astype(np.float32) / np.float32(255)}, labels[chosen]


def augmented(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 [n, 28, 28], each shifted by up to 2 pixels, mirrored half of the time, and half of the time with a 7 x 7 hole."""
    count, size = len(images), images.shape[1]
    padded = np.pad(images, ((0, 0), (SHIFT, SHIFT), (SHIFT, SHIFT)))
    down, right = rng.integers(0, 2 * SHIFT + 1, (2, count, 1))
    steps = np.arange(size)
    rows, columns = down + steps, right + steps
    mirrored = rng.random(count) < 0.5
    columns[mirrored] = columns[mirrored, ::-1]
    shifted: np.ndarray = padded[
        np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]
    ]
    y, x = rng.integers(0, size, (2, count, 1))
    covered = rng.random((count, 1)) < 0.5
    hole = ((abs(steps - y) <= HOLE // 2) & covered)[:, :, None] & (abs(steps - x) <= HOLE // 2)[
        :, None, :
    ]
    return np.where(hole, np.uint8(0), shifted)


def seen_otherwise(images: np.ndarray, hyper: FashionHyper, rng: np.random.Generator) -> np.ndarray:
    """uint8 [n, 28, 28], some of them by a darker or lighter, noisier camera. Nothing is drawn where the hyper-parameters name none."""
    if hyper.light >= 1 and not hyper.noise:
        return images
    shape = (len(images), 1, 1)
    light = np.exp(rng.uniform(np.log(hyper.light), np.log(LIGHTEST), shape))
    noise = 255 * hyper.noise * rng.random(shape) * rng.standard_normal(images.shape)
    other = np.round(light * images + noise).clip(0, 255).astype(np.uint8)
    return np.where(rng.random(shape) < CHANGED, other, images)


def convolution(inputs: int, outputs: int) -> nn.Sequential:
    """3 x 3, normalised, rectified."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Residual(nn.Module):
    """Two convolutions around which the signal also passes unchanged."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = convolution(channels, channels)
        self.second = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(self.first(x)))


class Network(nn.Module):
    """28 x 28 -> 14 x 14 -> 7 x 7 -> mean over the picture -> classes. 242 thousand parameters at width 32."""

    def __init__(self, width: int, dropout: float, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            convolution(1, width),
            nn.MaxPool2d(2),
            convolution(width, 2 * width),
            nn.MaxPool2d(2),
            convolution(2 * width, 3 * width),
            Residual(3 * width),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.classify = nn.Sequential(nn.Dropout(dropout), nn.Linear(3 * width, classes))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.features((image - MEAN) / DEVIATION)
        return self.classify(embedding), embedding


class FashionCnn(Recipe):
    """The recipe."""

    name = "fashion-cnn"
    description = "A residual CNN that tells ten kinds of clothing apart on 28 x 28 grey pictures, light on dark."
    data = "Fashion-MNIST, official split: 60,000 pictures to train on, 10,000 held out (Xiao et al. 2017)"
    licence = "data: MIT (Expat); weights: Apache-2.0"
    limits = "It expects one light piece of clothing, centred on a dark ground; on photographs with a light ground it is wrong more often than right."
    unit = "pictures"
    labels: tuple[str, ...] = fashion.LABELS
    inputs: tuple[bundle.Tensor, ...] = (bundle.Tensor("image", "float32", ("batch", 1, 28, 28)),)
    embedding = bundle.Tensor("embedding", "float32", ("batch", 96), "embedding")
    task: tasks.Task = tasks.ImageTask("image", 28, 28, 1)
    hyper: Hyper = FashionHyper(epochs=30, batch_size=128, learning_rate=4e-3, warmup=0.2)
    fine_tuning: ClassVar = {
        "epochs": 25,
        "learning_rate": 1e-3,
        "warmup": 0.1,
        "ema": 0.99,
        "keep": "last",
        "norms": "keep",
        "light": 0.3,
        "noise": 0.12,
    }
    base_share = 0.9

    def splits(self, hyper: Hyper, seed: int, rows: int | None = None) -> Splits:
        assert isinstance(hyper, FashionHyper)  # noqa: S101 - made from self.hyper
        training, held_out = fashion.load()
        order = np.random.default_rng(seed).permutation(len(training.labels))
        cut = int(hyper.validation_share * len(order))

        def part(pictures: fashion.Pictures, chosen: np.ndarray) -> Pictures:
            return Pictures(
                fashion.Pictures(pictures.images[chosen[:rows]], pictures.labels[chosen[:rows]])
            )

        return Splits(
            Pictures(part(training, order[cut:]).pictures, hyper),
            part(training, order[:cut]),
            {"accuracy": part(held_out, np.arange(len(held_out.labels)))},
            digest(*fashion.SHA256.values()),
        )

    def varied(self, row: tasks.Row, hyper: Hyper, rng: np.random.Generator) -> tasks.Row:
        image = np.round(row["image"] * 255).astype(np.uint8)
        return {"image": augmented(image, rng)[0][None].astype(np.float32) / np.float32(255)}

    def network(self, hyper: Hyper) -> nn.Module:
        assert isinstance(hyper, FashionHyper)  # noqa: S101 - made from self.hyper
        return Network(hyper.width, hyper.dropout, len(self.labels))

    def samples(self) -> Examples:
        pictures = fashion.read("t10k")
        return Pictures(fashion.Pictures(pictures.images[:16], pictures.labels[:16]))
