"""One file per model: its network, its data, its augmentation, its hyper-parameters. It must not know how training runs or what serving does.

What all recipes share stands here. `models.train` picks one by name.
"""

from collections.abc import Iterator
from typing import Annotated, Protocol

import msgspec
import numpy as np
from torch import nn

from models import bundle, tasks

Batch = tuple[dict[str, np.ndarray], np.ndarray]
"""Inputs by name [rows, ...], and labels int64 [rows]."""


class Hyper(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every training run can be told on the command line; a recipe adds its own and sets the defaults."""

    epochs: Annotated[int, msgspec.Meta(ge=1)]
    batch_size: Annotated[int, msgspec.Meta(ge=2)]
    learning_rate: Annotated[float, msgspec.Meta(gt=0)]
    weight_decay: float = 0.05
    warmup: float = 0.1
    """The share of all steps over which the learning rate rises; it falls as a cosine afterwards."""
    label_smoothing: float = 0.05
    dropout: float = 0.2
    ema: float = 0.999
    """Decay of the weights' moving average, which is what is kept; 0 keeps the weights themselves."""
    patience: Annotated[int, msgspec.Meta(ge=1)] = 10
    """Epochs without a better validation loss after which training stops."""
    clip: float = 1.0
    validation_share: Annotated[float, msgspec.Meta(gt=0, lt=0.5)] = 0.1


class Examples(Protocol):
    """Labelled rows that can be gone through in batches."""

    def __len__(self) -> int: ...

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        """All rows in batches. With `rng`: shuffled and augmented, for training; without: always the same."""
        ...


class Splits(msgspec.Struct):
    """What a run learns from, stops by, and is judged on. `tests` maps a metric's name to rows; "accuracy" is the main one."""

    train: Examples
    validation: Examples
    tests: dict[str, Examples]
    data_sha256: str


class Recipe(Protocol):
    """One model. The network takes the graph's inputs by name and returns (logits, embedding)."""

    name: str
    description: str
    data: str
    licence: str
    limits: str
    labels: tuple[str, ...]
    inputs: tuple[bundle.Tensor, ...]
    embedding: bundle.Tensor
    padding: bundle.Padding | None
    task: tasks.Task
    hyper: Hyper
    opset: int

    def splits(self, hyper: Hyper, seed: int, rows: int | None = None) -> Splits:
        """The data; at most `rows` of each part where it is given. DataError when it cannot be had."""
        ...

    def network(self, hyper: Hyper) -> nn.Module:
        """A network to be trained, with its first weights."""
        ...

    def samples(self) -> Examples:
        """16 rows whose licence lets them be shipped with the bundle."""
        ...


def recipes() -> dict[str, Recipe]:
    """Every recipe by its model's name."""
    from models.recipes.activity_lstm import ActivityLstm
    from models.recipes.fashion_cnn import FashionCnn
    from models.recipes.sentiment_transformer import SentimentTransformer

    return {
        recipe.name: recipe for recipe in (FashionCnn(), ActivityLstm(), SentimentTransformer())
    }
