"""activity-lstm: a convolutional stem and an LSTM that recognise shoulder exercises in 2-6 s of smartwatch data."""

import sys
from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from models import bundle, tasks
from models.datasets import watch
from models.datasets.sources import digest
from models.recipes import Batch, Examples, Hyper, Recipe, Splits

BUCKETS = (100, 150, 200, 250, 300)
FOUR_SECONDS = 200
NOISE, SCALE = 0.05, 0.1
TURNED = 0.5
"""The share of training windows by a watch that sits otherwise, where that is asked for: people known already still wear it as they did."""
KEPT = 0.7
"""The least part of a window of traffic that is trained on in one go."""
FOLDS = 3
"""Parts in time of what the model trains on, each held out once: their networks train on 77 % of a recording, the model on 70 %."""


class ActivityHyper(Hyper, frozen=True, kw_only=True):
    """`width` of the stem and of the LSTM; `windows` drawn from every recording in an epoch; `unseen` people, never trained on.

    `turn`: by how many degrees, in the standard deviation, a training window's watch sits otherwise on the arm.
    """

    width: int = 96
    windows: int = 40
    turn: Annotated[float, msgspec.Meta(ge=0, le=180)] = 0.0
    unseen: Annotated[str, msgspec.Meta(pattern=r"^\d+(,\d+)*$")] = ",".join(map(str, watch.UNSEEN))

    @property
    def people(self) -> frozenset[int]:
        """The numbers of the unseen."""
        return frozenset(map(int, self.unseen.split(",")))


class FixedWindows:
    """Windows that were cut once; a batch is padded to its longest."""

    def __init__(self, windows: watch.Windows, rows: int | None = None) -> None:
        self.windows = watch.Windows(windows.series[:rows], windows.labels[:rows])

    def __len__(self) -> int:
        return len(self.windows.labels)

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        series, labels = self.windows
        for start in range(0, len(self), size):
            yield padded(series[start : start + size]), labels[start : start + size]


class RandomWindows:
    """`count` windows per recording and epoch, anywhere in it, of 2-6 s; amplitude and noise vary as between sensors and people."""

    def __init__(
        self, parts: list[watch.Recording], hyper: ActivityHyper, rows: int | None = None
    ) -> None:
        self.parts = parts
        self.count, self.turn = hyper.windows, hyper.turn
        self.rows = rows

    def __len__(self) -> int:
        return min(self.count * len(self.parts), self.rows or sys.maxsize)

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        drawn = np.random.default_rng(0) if rng is None else rng
        order = drawn.permutation(self.count * len(self.parts))[: len(self)]
        for start in range(0, len(order), size):
            chosen = [self.parts[i % len(self.parts)] for i in order[start : start + size]]
            series = [cut(part.samples, drawn) for part in chosen]
            if rng is not None:
                series = [augmented(one, rng, self.turn) for one in series]
            yield padded(series), np.array([part.label for part in chosen], dtype=np.int64)


def cut(
    samples: np.ndarray, rng: np.random.Generator, shortest: int = watch.SHORTEST
) -> np.ndarray:
    """A window of 2-6 s at any place."""
    length = int(rng.integers(shortest, min(watch.LONGEST, len(samples)) + 1))
    start = int(rng.integers(0, len(samples) - length + 1))
    window: np.ndarray = samples[start : start + length]
    return window


def augmented(series: np.ndarray, rng: np.random.Generator, turn: float = 0.0) -> np.ndarray:
    """The same movement, a little stronger or weaker, by a noisier sensor; with `turn`, by one that sits otherwise."""
    if turn and rng.random() < TURNED:
        matrix = rotation(np.deg2rad(turn) * rng.standard_normal(), rng.standard_normal(3))
        series = (series.reshape(len(series), -1, 3) @ matrix).reshape(series.shape)
    scale = 1 + SCALE * rng.standard_normal((1, series.shape[1]))
    noise = NOISE * series.std(axis=0, keepdims=True) * rng.standard_normal(series.shape)
    varied: np.ndarray = (scale * series + noise).astype(np.float32)
    return varied


def rotation(angle: float, axis: np.ndarray) -> np.ndarray:
    """The turn by `angle` about `axis`, for rows of x, y, z (Rodrigues)."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, z, -y], [-z, 0, x], [y, -x, 0]])
    turned: np.ndarray = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return turned


def padded(series: list[np.ndarray]) -> dict[str, np.ndarray]:
    """`series` float32 [rows, longest, 6] with zeros behind the shorter, and `lengths` int32 [rows]."""
    lengths = np.array([len(one) for one in series], dtype=np.int32)
    joined = np.zeros((len(series), int(lengths.max()), len(watch.CHANNELS)), dtype=np.float32)
    for row, one in zip(joined, series, strict=True):
        row[: len(one)] = one
    return {"series": joined, "lengths": lengths}


class Network(nn.Module):
    """Two strided convolutions, an LSTM over a quarter of the steps, the mean of its real steps.

    Everything behind a row's length is zero before each convolution and left out of the mean, and the LSTM runs forwards only:
    what stands behind the end can never reach the answer.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, mean: np.ndarray, deviation: np.ndarray, width: int, dropout: float, classes: int
    ) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("deviation", torch.tensor(deviation))
        self.first = nn.Conv1d(len(mean), width // 2, 5, stride=2, padding=2)
        self.second = nn.Conv1d(width // 2, width, 5, stride=2, padding=2)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Linear(width, classes)

    def forward(self, series: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        x = (series - self.mean) / self.deviation
        x = (x * real(x, lengths)).transpose(1, 2)
        half, quarter = (lengths + 1) // 2, (lengths + 3) // 4
        x = torch.relu(self.first(x)).transpose(1, 2)
        x = (x * real(x, half)).transpose(1, 2)
        x = torch.relu(self.second(x)).transpose(1, 2)
        states, _ = self.lstm(self.dropout(x))
        mask = real(states, quarter)
        embedding = (states * mask).sum(1) / mask.sum(1)
        return self.classify(self.dropout(embedding)), embedding


def real(x: Tensor, lengths: Tensor) -> Tensor:
    """1 where a step of x [rows, time, ...] lies before its row's length, else 0: [rows, time, 1]."""
    steps = torch.arange(x.shape[1], device=x.device, dtype=lengths.dtype)
    return (steps[None, :] < lengths[:, None]).to(x.dtype)[:, :, None]


def split(
    training: list[watch.Recording], tests: dict[str, Examples], hyper: Hyper, rows: int | None
) -> Splits:
    """The end of each training part validates: cut in time, like the hold-out."""
    assert isinstance(hyper, ActivityHyper)  # noqa: S101 - made from the recipe's
    early, late = [], []
    for part in training:
        cut = int((1 - 2 * hyper.validation_share) * len(part.samples))
        early.append(part._replace(samples=part.samples[:cut]))
        late.append(part._replace(samples=part.samples[cut:]))
    return Splits(
        RandomWindows(early, hyper, rows),
        FixedWindows(watch.windows(late, FOUR_SECONDS // 2), rows),
        tests,
        digest(watch.FILE.sha256),
    )


def fold(
    training: list[watch.Recording], later: list[watch.Recording], number: int
) -> tuple[list[watch.Recording], list[watch.Recording]]:
    """(what is left to train on, held out): part `number` of what the model trains on, the rest of each recording before and behind it."""
    left, held_out = [], []
    for begun, ended in zip(training, later, strict=True):
        size = len(begun.samples)
        start, stop = number * size // FOLDS, (number + 1) * size // FOLDS
        held_out.append(begun._replace(samples=begun.samples[start:stop]))
        behind = np.concatenate([begun.samples[stop:], ended.samples])
        rest = (begun.samples[:start], behind)
        left += [begun._replace(samples=one) for one in rest if len(one)]
    return left, held_out


class ActivityLstm(Recipe):
    """The recipe."""

    name = "activity-lstm"
    description = "A convolutional stem and an LSTM that recognise seven shoulder exercises in 2-6 s of smartwatch data."
    data = (
        "Shoulder exercises seen by a smartwatch (seglearn): people 1-7, the first 70 % of each recording to train on, the rest held out; "
        "people 8-10, or those whom the hyper-parameters name, were never seen (Burns et al. 2018)"
    )
    licence = "data: BSD-3; weights: Apache-2.0"
    limits = "People whom it has not seen are recognised less well (see above). Held-out windows overlap by half, so the intervals are narrower than those of as many independent windows."
    unit = "windows of 4 s"
    labels: tuple[str, ...] = watch.LABELS
    inputs: tuple[bundle.Tensor, ...] = (
        bundle.Tensor("series", "float32", ("batch", "time", 6)),
        bundle.Tensor("lengths", "int32", ("batch",)),
    )
    embedding = bundle.Tensor("embedding", "float32", ("batch", 96), "embedding")
    padding: bundle.Padding | None = bundle.Padding(
        "time", {"series": 0.0}, BUCKETS, watch.SHORTEST
    )
    task: tasks.Task = tasks.SeriesTask(
        "series", "lengths", watch.CHANNELS, watch.SHORTEST, watch.LONGEST, watch.RATE_HZ
    )
    hyper: Hyper = ActivityHyper(
        epochs=40, batch_size=64, learning_rate=3e-3, ema=0.99, patience=15
    )
    fine_tuning: ClassVar = {
        "epochs": 50,
        "learning_rate": 2e-3,
        "keep": "last",
        "turn": 15.0,
    }

    def splits(self, hyper: Hyper, seed: int, rows: int | None = None) -> Splits:
        assert isinstance(hyper, ActivityHyper)  # noqa: S101 - made from self.hyper
        training, later, unseen = watch.parts(hyper.people)
        tests: dict[str, Examples] = {
            "accuracy": FixedWindows(watch.windows(later, FOUR_SECONDS), rows),
            "accuracy_mixed_lengths": FixedWindows(watch.windows(later, None), rows),
            "accuracy_unseen_people": FixedWindows(watch.windows(unseen, FOUR_SECONDS), rows),
        }
        return split(training, tests, hyper, rows)

    def folds(self, hyper: Hyper, rows: int | None = None) -> Sequence[Splits]:
        assert isinstance(hyper, ActivityHyper)  # noqa: S101 - made from self.hyper
        training, later, _ = watch.parts(hyper.people)
        found = []
        for number in range(FOLDS):
            left, held_out = fold(training, later, number)
            windows = FixedWindows(watch.windows(held_out, FOUR_SECONDS), rows)
            # As many windows an epoch as the model's own training has, from more and shorter parts.
            count = max(1, hyper.windows * len(training) // len(left))
            fewer = msgspec.structs.replace(hyper, windows=count)
            found.append(split(left, {"accuracy": windows}, fewer, rows))
        return found

    def varied(self, row: tasks.Row, hyper: Hyper, rng: np.random.Generator) -> tasks.Row:
        shortest = max(watch.SHORTEST, int(KEPT * len(row["series"])))
        assert isinstance(hyper, ActivityHyper)  # noqa: S101 - made from self.hyper
        series = augmented(cut(row["series"], rng, shortest), rng, hyper.turn)
        return {"series": series, "lengths": np.array(len(series), dtype=np.int32)}

    def network(self, hyper: Hyper) -> nn.Module:
        assert isinstance(hyper, ActivityHyper)  # noqa: S101 - made from self.hyper
        samples = np.concatenate([part.samples for part in watch.parts(hyper.people)[0]])
        return Network(
            samples.mean(0), samples.std(0), hyper.width, hyper.dropout, len(self.labels)
        )

    def samples(self) -> Examples:
        windows = watch.windows(watch.parts()[1], None, seed=1)
        chosen = np.linspace(0, len(windows.labels) - 1, 16).astype(int)
        return FixedWindows(
            watch.Windows([windows.series[i] for i in chosen], windows.labels[chosen])
        )
