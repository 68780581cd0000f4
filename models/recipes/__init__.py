"""One file per model: its network, its data, its augmentation, its hyper-parameters. It must not know how training runs or what serving does.

What all recipes share stands here. `models.train` picks one by name, or takes a file that holds one.
"""

import importlib.util
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Protocol

import msgspec
import numpy as np
from torch import nn

from models import bundle, tasks
from models.errors import DataError
from models.tasks import Row

Inputs = dict[str, np.ndarray]
Batch = tuple[Inputs, np.ndarray]
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
    keep: Literal["best", "last"] = "best"
    """Which epoch's weights come out: those with the best validation loss, or the last. Where few rows validate, chance picks the best."""
    clip: float = 1.0
    norms: Literal["learn", "keep"] = "learn"
    """Whether batch norms follow the training rows, or keep the statistics that they have."""
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


class Rows:
    """Rows in memory: inputs by name [rows, ...], labels int64 [rows]. `varied` changes a batch in training, so that no row comes twice alike."""

    def __init__(
        self,
        inputs: Inputs,
        labels: np.ndarray,
        varied: Callable[[Inputs, np.random.Generator], Inputs] | None = None,
    ) -> None:
        self.inputs, self.labels, self.varied = inputs, labels, varied

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice) -> "Rows":
        """A part of them."""
        inputs = {name: array[part] for name, array in self.inputs.items()}
        return Rows(inputs, self.labels[part], self.varied)

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        order = np.arange(len(self)) if rng is None else rng.permutation(len(self))
        for start in range(0, len(self), size):
            chosen = order[start : start + size]
            inputs = {name: array[chosen] for name, array in self.inputs.items()}
            if rng is not None and self.varied is not None:
                inputs = self.varied(inputs, rng)
            yield inputs, self.labels[chosen]


class Recipe(ABC):
    """One model. The network takes the graph's inputs by name and returns (logits, embedding)."""

    name: str
    description: str
    labels: tuple[str, ...]
    inputs: tuple[bundle.Tensor, ...]
    embedding: bundle.Tensor
    task: tasks.Task
    hyper: Hyper
    fine_tuning: ClassVar[Mapping[str, int | float | str]] = {}
    """The hyper-parameters that are others when a version's weights are gone on from."""
    base_share: float = 5 / 6
    """The share of the recipe's own rows in every batch of a fine-tuning."""
    padding: bundle.Padding | None = None
    unit: str = "rows"
    """What a row is, in the plural."""
    data: str = "not told"
    licence: str = "not told"
    limits: str = "Nobody has told."
    opset: int = 20

    @abstractmethod
    def splits(self, hyper: Hyper, seed: int, rows: int | None = None) -> Splits:
        """The data; at most `rows` of each part where it is given. DataError when it cannot be had."""

    def folds(self, hyper: Hyper, rows: int | None = None) -> Sequence[Splits]:
        """Where the hold-out is small: other splits, whose networks hold out other rows. Together they make a larger reference for drift."""
        return ()

    def varied(self, row: Row, hyper: Hyper, rng: np.random.Generator) -> Row:
        """A row of traffic changed for training, in ways in which rows differ anyway."""
        return row

    @abstractmethod
    def network(self, hyper: Hyper) -> nn.Module:
        """A network to be trained, with its first weights."""

    @abstractmethod
    def samples(self) -> Examples:
        """16 rows whose licence lets them be shipped with the bundle."""


def recipes() -> dict[str, Recipe]:
    """Every recipe of this project by its model's name."""
    from models.recipes.activity_lstm import ActivityLstm
    from models.recipes.fashion_cnn import FashionCnn
    from models.recipes.sentiment_transformer import SentimentTransformer

    return {
        recipe.name: recipe for recipe in (FashionCnn(), ActivityLstm(), SentimentTransformer())
    }


def recipe(told: str) -> Recipe:
    """The recipe with this name, or the one in this file. DataError where there is none."""
    if told.endswith(".py"):
        return from_file(Path(told))
    known = recipes()
    if told not in known:
        raise DataError(f"no recipe '{told}'; known: {', '.join(known)}, or the path of a .py file")
    return known[told]


def from_file(path: Path) -> Recipe:
    """The one recipe that a file defines. The file is run: it is code like any other."""
    if not path.is_file():
        raise DataError(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None  # noqa: S101, PT018 - true of .py files
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise DataError(f"{path} cannot be run: {type(error).__name__}: {error}") from error
    found = [
        one
        for one in vars(module).values()
        if inspect.isclass(one) and issubclass(one, Recipe) and one.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise DataError(f"{path} defines {len(found)} recipes; it has to define one")
    try:
        return checked(found[0]())
    except (TypeError, AttributeError) as error:
        raise DataError(f"{path}: {error}") from error


def checked(found: Recipe) -> Recipe:
    """The recipe, if it says all that it must."""
    needed = ("name", "description", "labels", "inputs", "embedding", "task", "hyper")
    if missing := [name for name in needed if not hasattr(found, name)]:
        raise AttributeError(f"{type(found).__name__} says nothing of {', '.join(missing)}")
    return found
