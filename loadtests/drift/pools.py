"""Held-out rows of the three models, and what each change makes of all of them. It must not know windows, detectors or answers.

A pool is what is split into reference and traffic: rows that no model was trained on, and that are alike. A variant is the same rows
after one change, row for row, or rows from elsewhere (`FOREIGN`).
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np

from loadtests.compare.contenders import ROOT
from loadtests.drift import adversarial
from loadtests.drift.rows import Arrays, Rows
from loadtests.drift.suites import corruptions, pictures, series, texts
from models import bundle, tasks
from models.datasets import fashion, reviews, watch
from models.errors import TooLarge

REPOSITORY = ROOT / "models" / "repository"
CLEAN = "clean"
UNSEEN = "unseen people"
ADVERSARIAL = "adversarial"
FOREIGN = (UNSEEN, *reviews.DOMAINS)
"""Variants whose rows are not the pool's."""
STRIDE_S = 0.5
"""Between the begins of two windows."""
DOMAIN_ROWS = 1500


class Pool(Protocol):
    """The rows of one model."""

    model: str
    variant: str
    """Of the model's file."""
    source: str
    variants: tuple[str, ...]

    def rows(self, variant: str, rng: np.random.Generator) -> Rows:
        """All rows after one change, or as they are."""
        ...

    def committed(self) -> Rows:
        """Those that the model itself holds out, of which its committed profile was made."""
        ...


def directory(model: str) -> Path:
    """The committed bundle."""
    return REPOSITORY / model / "1"


class Pictures:
    """Fashion-MNIST's official test split."""

    model, variant = "fashion-cnn", "fp32"
    changes: Mapping[str, pictures.Change] = {**pictures.CHANGES, **corruptions.CHANGES}
    variants = (CLEAN, *changes, ADVERSARIAL)

    def __init__(self, rows: int | None = None) -> None:
        found = fashion.read("t10k")
        chosen = order(len(found.labels), rows)
        self.images = found.images[chosen].astype(np.float32) / np.float32(255)
        self.labels = found.labels[chosen]
        self.source = f"{len(self.labels):,} held-out pictures of Fashion-MNIST"

    def rows(self, variant: str, rng: np.random.Generator) -> Rows:
        images = self.images
        if variant == ADVERSARIAL:
            made = adversarial.changed(directory(self.model), images[:, None], self.labels)
            return Rows({"image": made}, self.labels)
        if variant != CLEAN:
            images = self.changes[variant](images, rng)
        return Rows({"image": np.ascontiguousarray(images[:, None])}, self.labels)

    def committed(self) -> Rows:
        return self.rows(CLEAN, np.random.default_rng())


class Series:
    """What people 1-7 did in the last 30 % of their recordings; people 8-10 are the natural shift."""

    model, variant = "activity-lstm", "fp32"
    variants = (CLEAN, *series.CHANGES, UNSEEN)

    def __init__(self, rows: int | None = None) -> None:
        _, later, self._unseen = watch.parts()
        self._held_out = later
        found = overlapping(later)
        chosen = order(len(found.labels), rows)
        self.windows = watch.Windows([found.series[i] for i in chosen], found.labels[chosen])
        samples = np.concatenate([part.samples for part in later])
        self.deviation = samples.std(axis=0)
        self.source = (
            f"{len(chosen):,} windows of 4 s, one begun every {STRIDE_S:g} s, from the end of the recordings of people 1-7: "
            "neighbours overlap, so these rows are alike, not independent"
        )

    def rows(self, variant: str, rng: np.random.Generator) -> Rows:
        if variant == UNSEEN:
            found = watch.windows(self._unseen, seconds(4))
            return padded_series(found.series, found.labels)
        windows = self.windows.series
        if variant != CLEAN:
            change = series.CHANGES[variant]
            windows = [change(one, self.deviation, rng).astype(np.float32) for one in windows]
        return padded_series(windows, self.windows.labels)

    def committed(self) -> Rows:
        found = watch.windows(self._held_out, seconds(4))
        return padded_series(found.series, found.labels)


class Texts:
    """Held-out sentences about films from both sets; tweets, product reviews and editorials are the natural shifts."""

    model, variant = "sentiment-transformer", "int8"
    variants = (CLEAN, *texts.CHANGES, *reviews.DOMAINS)

    def __init__(self, rows: int | None = None) -> None:
        parts = (reviews.rotten_tomatoes()[1], reviews.vader())
        found = [text for part in parts for text in part.texts]
        labels = np.concatenate([part.labels for part in parts])
        chosen = order(len(found), rows)
        self._foreign = min(DOMAIN_ROWS, rows or DOMAIN_ROWS)
        self.texts, self.labels = [found[i] for i in chosen], labels[chosen]
        self.source = (
            f"{len(chosen):,} held-out sentences about films (Rotten Tomatoes and VADER's snippets)"
        )

    @cached_property
    def processor(self) -> tasks.TextProcessor:
        """The model's own tokenizer."""
        task = bundle.read(directory(self.model)).task
        assert isinstance(task, tasks.TextTask)
        return tasks.TextProcessor(task, directory(self.model) / task.tokenizer)

    def rows(self, variant: str, rng: np.random.Generator) -> Rows:
        if variant in reviews.DOMAINS:
            found = reviews.snippets(variant)
            chosen = order(len(found.labels), self._foreign)
            return self.tokens([found.texts[i] for i in chosen], found.labels[chosen])
        if variant == CLEAN:
            return self.tokens(self.texts, self.labels)
        change = texts.CHANGES[variant]
        changed = [change(text, self.texts, rng) for text in self.texts]
        known = variant not in texts.UNLABELLED
        return self.tokens(changed, self.labels if known else np.full_like(self.labels, -1))

    def committed(self) -> Rows:
        _, held_out = reviews.rotten_tomatoes()
        return self.tokens(held_out.texts, held_out.labels)

    def tokens(self, found: list[str], labels: np.ndarray) -> Rows:
        """Tokens with their mask. A text that the model refuses is cut to what it takes."""
        longest = self.processor.task.maximum
        ids = np.zeros((len(found), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        found = [self.taken(text) for text in found]
        for row, text in enumerate(found):
            tokens = self.processor.row(text)[self.processor.task.ids]
            ids[row, : len(tokens)] = tokens
            mask[row, : len(tokens)] = 1
        most = int(mask.sum(1).max())
        task = self.processor.task
        inputs: Arrays = {task.ids: ids[:, :most], task.mask: mask[:, :most]}
        return Rows(inputs, labels, found)

    def taken(self, text: str) -> str:
        """As much of a text as the model takes."""
        while True:
            try:
                self.processor.row(text or "?")
            except TooLarge:
                words = text.split()
                text = " ".join(words[: 3 * len(words) // 4])
            else:
                return text or "?"


POOLS: Mapping[str, Callable[[int | None], Pool]] = {
    "images": Pictures,
    "series": Series,
    "texts": Texts,
}


def order(count: int, rows: int | None) -> np.ndarray:
    """Row numbers in a random order that is always the same; at most `rows`."""
    return np.random.default_rng(7).permutation(count)[:rows]


def seconds(count: float) -> int:
    """Samples of the watch."""
    return int(count * watch.RATE_HZ)


def overlapping(parts: list[watch.Recording]) -> watch.Windows:
    """Windows of 4 s that begin every STRIDE_S."""
    length, step = seconds(4), seconds(STRIDE_S)
    cuts = [
        (part.samples[start : start + length], part.label)
        for part in parts
        for start in range(0, len(part.samples) - length + 1, step)
    ]
    return watch.Windows([one for one, _ in cuts], np.array([label for _, label in cuts]))


def padded_series(windows: list[np.ndarray], labels: np.ndarray) -> Rows:
    """As the LSTM takes them."""
    sizes = np.array([len(one) for one in windows], dtype=np.int32)
    joined = np.zeros((len(windows), int(sizes.max()), windows[0].shape[1]), dtype=np.float32)
    for row, one in zip(joined, windows, strict=True):
        row[: len(one)] = one
    return Rows({"series": joined, "lengths": sizes}, labels)
