"""The recipes with networks of a few thousand numbers and drawn rows: everything but the data and the size is real."""

from types import ModuleType

import msgspec
import numpy as np
import pytest
from torch import nn

from models import bundle
from models.datasets import fashion, watch
from models.recipes import Batch, Examples, activity_lstm, fashion_cnn, sentiment_transformer

SENTIMENT = {"WIDTH": 24, "HEADS": 3, "LAYERS": 2, "INNER": 32, "VOCABULARY": 60, "POSITIONS": 64}


class Rows(sentiment_transformer.Sentences):
    """Token rows that no tokenizer made."""

    def __init__(self, ids: list[np.ndarray], labels: np.ndarray) -> None:
        self.ids, self.labels = ids, labels


class Fashion(fashion_cnn.FashionCnn):
    embedding = bundle.Tensor("embedding", "float32", ("batch", 12), "embedding")
    hyper = fashion_cnn.FashionHyper(epochs=1, batch_size=8, learning_rate=1e-3, width=4)

    def samples(self) -> Examples:
        rng = np.random.default_rng(3)
        images = rng.integers(0, 256, (16, 28, 28), dtype=np.uint8)
        return fashion_cnn.Pictures(fashion.Pictures(images, rng.integers(0, 10, 16)))


class Activity(activity_lstm.ActivityLstm):
    embedding = bundle.Tensor("embedding", "float32", ("batch", 8), "embedding")
    hyper = activity_lstm.ActivityHyper(epochs=1, batch_size=8, learning_rate=1e-3, width=8)

    def network(self, hyper: activity_lstm.ActivityHyper) -> nn.Module:
        ones = np.ones(6, dtype=np.float32)
        return activity_lstm.Network(0 * ones, ones, hyper.width, hyper.dropout, 7)

    def samples(self) -> Examples:
        return activity_lstm.FixedWindows(self.windows(16))

    def windows(self, count: int) -> watch.Windows:
        rng = np.random.default_rng(4)
        lengths = rng.integers(watch.SHORTEST, watch.LONGEST + 1, count)
        series = [rng.normal(size=(n, 6)).astype(np.float32) for n in lengths]
        return watch.Windows(series, rng.integers(0, 7, count))


class Sentiment(sentiment_transformer.SentimentTransformer):
    embedding = bundle.Tensor(
        "sentence_embedding", "float32", ("batch", SENTIMENT["WIDTH"]), "embedding"
    )

    def network(self, hyper: sentiment_transformer.SentimentHyper) -> nn.Module:
        return sentiment_transformer.Network(hyper.dropout, 2)

    def samples(self) -> Examples:
        rng = np.random.default_rng(5)
        ids = [rng.integers(1, 60, n) for n in rng.integers(3, 40, 16)]
        return Rows(ids, rng.integers(0, 2, 16))


def shrink(monkeypatch: pytest.MonkeyPatch, module: ModuleType = sentiment_transformer) -> None:
    """The Transformer's sizes are constants of its module."""
    for name, value in SENTIMENT.items():
        monkeypatch.setattr(module, name, value)


def hyper_of(recipe: object, **fields: object) -> object:
    return msgspec.structs.replace(recipe.hyper, **fields)


def first(examples: Examples, size: int = 16) -> Batch:
    return next(iter(examples.batches(size)))
