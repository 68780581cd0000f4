"""shapes-cnn: tells drawn discs, squares and crosses apart. A whole recipe in one file: data, network, hyper-parameters."""

from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from models import bundle, tasks
from models.datasets.sources import digest
from models.recipes import Examples, Hyper, Inputs, Recipe, Rows, Splits

SIZE, LABELS = 16, ("disc", "square", "cross")


def drawn(count: int, seed: int) -> Rows:
    """Pictures float32 [1, 16, 16] of 0..1: one shape somewhere, of some size and light, and noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(LABELS), count)
    centre, radius = rng.uniform(5, 10, (2, count, 1, 1)), rng.uniform(2.5, 5, (count, 1, 1))
    down, right = np.abs(np.mgrid[:SIZE, :SIZE][:, None] - centre)
    disc = np.hypot(down, right) <= radius
    square = np.maximum(down, right) <= 0.8 * radius
    cross = (np.minimum(down, right) <= 1) & (np.maximum(down, right) <= radius)
    shape = np.choose(labels[:, None, None], [disc, square, cross])
    light = rng.uniform(0.5, 1, (count, 1, 1))
    pictures = (light * shape + rng.normal(0, 0.05, shape.shape)).clip(0, 1)
    return Rows({"image": pictures[:, None].astype(np.float32)}, labels, mirrored)


def mirrored(inputs: Inputs, rng: np.random.Generator) -> Inputs:
    """Half of a batch's pictures turned over, in training."""
    turn = rng.random((len(inputs["image"]), 1, 1, 1)) < 0.5
    return {"image": np.where(turn, inputs["image"][..., ::-1], inputs["image"])}


class Network(nn.Module):
    """Returns (logits, embedding), as every recipe's network does."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten()),
        )
        self.classify = nn.Linear(32, len(LABELS))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.features(image)
        return self.classify(embedding), embedding


class Shapes(Recipe):
    name = "shapes-cnn"
    description = "A small CNN that tells drawn discs, squares and crosses apart."
    labels = LABELS
    inputs = (bundle.Tensor("image", "float32", ("batch", 1, SIZE, SIZE)),)
    embedding = bundle.Tensor("embedding", "float32", ("batch", 32), "embedding")
    task = tasks.ImageTask("image", SIZE, SIZE)
    hyper = Hyper(epochs=8, batch_size=32, learning_rate=5e-3, ema=0.95)
    fine_tuning: ClassVar = {"epochs": 5, "learning_rate": 2e-3}

    def splits(self, hyper: Hyper, seed: int, rows: int | None = None) -> Splits:
        training, validation = drawn(1500, 1)[:rows], drawn(300, 2)[:rows]
        return Splits(training, validation, {"accuracy": drawn(600, 3)[:rows]}, digest("shapes 1"))

    def network(self, hyper: Hyper) -> nn.Module:
        return Network()

    def samples(self) -> Examples:
        return drawn(16, 4)
