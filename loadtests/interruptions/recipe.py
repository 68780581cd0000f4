"""stripes: tells in which direction stripes run. A recipe that trains in a second, for retraining a hundred times."""

from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from models import bundle, tasks
from models.datasets.sources import digest
from models.recipes import Examples, Hyper, Recipe, Rows, Splits

SIZE, LABELS = 8, ("across", "down")


def drawn(count: int, seed: int) -> Rows:
    """Pictures float32 [1, 8, 8] of 0..1: stripes of some width, place and light, and noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, len(LABELS), count)
    phase, width, light = rng.uniform([0, 0.7, 0.5], [6.3, 1.5, 1.0], (count, 3)).T
    waves = 0.5 + 0.5 * np.sin(phase[:, None] + width[:, None] * np.arange(SIZE))
    across = np.repeat(waves[:, :, None], SIZE, axis=2)
    pictures = np.where(labels[:, None, None] == 0, across, across.transpose(0, 2, 1))
    pictures = pictures * light[:, None, None] + rng.normal(0, 0.05, pictures.shape)
    return Rows({"image": pictures.clip(0, 1)[:, None].astype(np.float32)}, labels)


class Network(nn.Module):
    """Returns (logits, embedding)."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveMaxPool2d(2), nn.Flatten())
        )
        self.classify = nn.Linear(32, len(LABELS))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        embedding = self.features(image)
        return self.classify(embedding), embedding


class Stripes(Recipe):
    name = "stripes"
    description = "A very small CNN that tells in which direction stripes run."
    labels = LABELS
    inputs = (bundle.Tensor("image", "float32", ("batch", 1, SIZE, SIZE)),)
    embedding = bundle.Tensor("embedding", "float32", ("batch", 32), "embedding")
    task = tasks.ImageTask("image", SIZE, SIZE)
    hyper = Hyper(epochs=6, batch_size=32, learning_rate=1e-2, ema=0.9)
    fine_tuning: ClassVar = {"epochs": 2, "learning_rate": 2e-3}

    def splits(self, hyper: Hyper, seed: int, rows: int | None = None) -> Splits:
        training, validation = drawn(600, 1)[:rows], drawn(200, 2)[:rows]
        return Splits(training, validation, {"accuracy": drawn(320, 3)[:rows]}, digest("stripes 1"))

    def network(self, hyper: Hyper) -> nn.Module:
        return Network()

    def samples(self) -> Examples:
        return drawn(16, 4)
