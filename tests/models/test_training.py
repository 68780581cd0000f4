"""The fit loop on networks of a few numbers: what it keeps, what it repeats exactly, how the learning rate goes."""

import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from torch import nn

from models import training
from models.evaluation import Epoch
from models.recipes import Batch, Hyper, Splits

HYPER = Hyper(epochs=5, batch_size=8, learning_rate=0.02, dropout=0.3, ema=0.9)


class Points:
    """Two clouds in a plane; training adds noise, so that the drawn numbers matter."""

    def __init__(self, rows: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.labels = rng.integers(0, 2, rows)
        self.points = (rng.normal(size=(rows, 2)) + 2 * self.labels[:, None]).astype(np.float32)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[Batch]:
        order = np.arange(len(self)) if rng is None else rng.permutation(len(self))
        for start in range(0, len(self), size):
            chosen = order[start : start + size]
            points = self.points[chosen]
            if rng is not None:
                points = points + rng.normal(size=points.shape).astype(np.float32) / 10
            yield {"points": points}, self.labels[chosen]


class Plane(nn.Module):
    """A hidden layer with a norm and dropout: weights, statistics, counters and randomness."""

    def __init__(self, dropout: float = HYPER.dropout) -> None:
        super().__init__()
        self.hidden, self.norm = nn.Linear(2, 8), nn.BatchNorm1d(8)
        self.dropout, self.classify = nn.Dropout(dropout), nn.Linear(8, 2)

    def forward(self, points: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        embedding = torch.relu(self.norm(self.hidden(points)))
        return self.classify(self.dropout(embedding)), embedding


@pytest.fixture(scope="module")
def splits() -> Splits:
    return Splits(Points(40, 1), Points(24, 2), {"accuracy": Points(24, 3)}, "0" * 64)


def weights(fit: training.Fitted) -> dict[str, torch.Tensor]:
    return fit.network.state_dict()


def same(left: training.Fitted, right: training.Fitted) -> bool:
    """Bit for bit, and by the same way (but for the clock)."""
    ways = [[epoch[:-1] for epoch in fit.history] for fit in (left, right)]
    return ways[0] == ways[1] and all(
        torch.equal(value, weights(right)[name]) for name, value in weights(left).items()
    )


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Stop the next run when `after` epochs are done, in the middle of the one that follows."""
    steps, real = 0, training.Fit.advance

    def advance(self: training.Fit, batch: Batch, rate: float) -> tuple[float, int]:
        nonlocal steps
        steps += 1
        if steps == after * 5 + 3:
            raise KeyboardInterrupt
        return real(self, batch, rate)

    monkeypatch.setattr(training.Fit, "advance", advance)


@pytest.mark.parametrize("after", [1, 2, 4])
def test_an_interrupted_and_resumed_run_equals_an_uninterrupted_one(
    splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    whole = training.fit(Plane, splits, HYPER, 7)
    with monkeypatch.context() as patch:
        interrupt(patch, after)
        with pytest.raises(KeyboardInterrupt):
            training.fit(Plane, splits, HYPER, 7, tmp_path)
    torch.manual_seed(99)  # what else the process drew must not matter
    resumed = training.fit(Plane, splits, HYPER, 7, tmp_path, resume=True)
    assert same(whole, resumed)
    assert (whole.best, len(resumed.history)) == (resumed.best, HYPER.epochs)


@pytest.mark.parametrize("changed", ["seed", "hyper"])
def test_a_checkpoint_of_another_run_is_not_continued(
    splits: Splits, tmp_path: Path, changed: str
) -> None:
    training.fit(Plane, splits, HYPER, 7, tmp_path)
    other = Hyper(epochs=3, batch_size=8, learning_rate=0.02) if changed == "hyper" else HYPER
    seed = 8 if changed == "seed" else 7
    fresh = training.fit(Plane, splits, other, seed)
    assert same(training.fit(Plane, splits, other, seed, tmp_path, resume=True), fresh)


def test_without_resume_a_checkpoint_is_not_read(splits: Splits, tmp_path: Path) -> None:
    training.fit(Plane, splits, HYPER, 7, tmp_path)
    before = (tmp_path / training.CHECKPOINT).stat().st_mtime_ns
    again = training.fit(Plane, splits, HYPER, 7, tmp_path)
    assert (tmp_path / training.CHECKPOINT).stat().st_mtime_ns > before
    assert len(again.history) == HYPER.epochs


def test_a_checkpoint_leaves_no_temporary_file(splits: Splits, tmp_path: Path) -> None:
    training.fit(Plane, splits, HYPER, 7, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [training.CHECKPOINT]


def test_a_seed_reproduces_a_run_and_another_seed_does_not(splits: Splits) -> None:
    first = training.fit(Plane, splits, HYPER, 7)
    assert same(first, training.fit(Plane, splits, HYPER, 7))
    assert not same(first, training.fit(Plane, splits, HYPER, 8))


def test_training_learns_and_hands_back_a_network_that_answers(splits: Splits) -> None:
    fit = training.fit(Plane, splits, HYPER, 7)
    assert fit.history[-1].train_loss < fit.history[0].train_loss
    assert fit.history[fit.best].validation_accuracy > 0.8
    assert not fit.network.training
    assert fit.device.startswith("CPU") or torch.cuda.is_available()


def judged(monkeypatch: pytest.MonkeyPatch, losses: list[float]) -> list[dict]:
    """Let the validation losses be `losses`; gives the averages that they were said of."""
    averages: list[dict] = []

    def validate(self: training.Fit, examples: Points) -> tuple[float, float]:
        averages.append({name: value.clone() for name, value in self.average.items()})
        return losses[len(averages) - 1], 0.5

    monkeypatch.setattr(training.Fit, "validate", validate)
    return averages


def test_early_stopping_keeps_the_best_weights(
    splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    hyper = Hyper(epochs=9, batch_size=8, learning_rate=0.02, ema=0.9, patience=2)
    averages = judged(monkeypatch, [0.9, 0.5, 0.7, 0.6, 0.4, 0.3, 0.2, 0.1, 0.0])
    fit = training.fit(Plane, splits, hyper, 7)
    assert (fit.best, len(fit.history)) == (1, 4)
    assert all(torch.equal(value, averages[1][name]) for name, value in weights(fit).items())
    assert not torch.equal(weights(fit)["hidden.weight"], averages[3]["hidden.weight"])


def test_patience_counts_anew_after_each_better_epoch(
    splits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    hyper = Hyper(epochs=9, batch_size=8, learning_rate=0.02, patience=2)
    judged(monkeypatch, [0.9, 0.95, 0.8, 0.85, 0.7, 0.9, 0.9, 0.9, 0.9])
    fit = training.fit(Plane, splits, hyper, 7)
    assert (fit.best, len(fit.history)) == (4, 7)


def test_the_learning_rate_rises_in_a_line_then_falls_as_a_cosine() -> None:
    hyper = Hyper(epochs=10, batch_size=8, learning_rate=0.5, warmup=0.2)
    run = training.Fit(Plane(), hyper, 10, 1)
    rates = []
    for step in range(run.total + 1):
        run.step = step
        rates.append(run.rate())
    assert rates[:20] == pytest.approx([0.5 * (step + 1) / 20 for step in range(20)])
    assert max(rates) == rates[19] == 0.5
    assert all(later < earlier for earlier, later in itertools.pairwise(rates[20:]))
    assert rates[60] == pytest.approx(0.25)
    assert rates[-1] == pytest.approx(0, abs=1e-12)


def test_the_first_epochs_rate_is_what_the_history_says(splits: Splits) -> None:
    fit = training.fit(Plane, splits, HYPER, 7)
    total, warm = 25, 2
    expected = [
        HYPER.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / (total - warm)))
        for step in range(4, total, 5)
    ]
    assert [epoch.learning_rate for epoch in fit.history] == pytest.approx(expected)


def test_the_average_follows_the_weights_quickly_at_first() -> None:
    run = training.Fit(Plane(), HYPER, 5, 1)
    before = {name: value.clone() for name, value in run.average.items()}
    with torch.no_grad():
        run.network.hidden.weight += 1
        run.network.norm.num_batches_tracked += 3
    run.step = 1
    run.follow()
    decay = 2 / 11
    moved = run.average["hidden.weight"] - before["hidden.weight"]
    torch.testing.assert_close(moved, torch.full_like(moved, 1 - decay))
    assert run.average["norm.num_batches_tracked"] == 3


def test_the_average_later_moves_by_its_decay_alone() -> None:
    run = training.Fit(Plane(), HYPER, 5, 1)
    before = run.average["hidden.weight"].clone()
    with torch.no_grad():
        run.network.hidden.weight += 1
    run.step = 10_000
    run.follow()
    moved = run.average["hidden.weight"] - before
    torch.testing.assert_close(moved, torch.full_like(moved, 1 - HYPER.ema))


def test_without_an_average_the_weights_themselves_are_kept() -> None:
    run = training.Fit(Plane(), Hyper(epochs=1, batch_size=8, learning_rate=0.1, ema=0), 5, 1)
    with torch.no_grad():
        run.network.hidden.weight += 1
    run.follow()
    assert torch.equal(run.average["hidden.weight"], run.network.hidden.weight)


def test_validation_judges_the_average_and_leaves_the_weights_alone(splits: Splits) -> None:
    run = training.Fit(Plane(), HYPER, 5, 1)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    with torch.no_grad():
        for value in run.average.values():
            value.zero_()
    loss, _ = run.validate(splits.validation)
    assert loss == pytest.approx(math.log(2))  # an average of zeros cannot tell two classes apart
    assert all(torch.equal(v, before[k]) for k, v in run.network.state_dict().items())


def test_of_equal_losses_the_later_epoch_is_kept() -> None:
    run = training.Fit(Plane(), HYPER, 5, 1)
    for _ in range(2):
        run.record(Epoch(1, 1, 0.5, 1, 0.1, 1))
    assert run.best == 1


@pytest.mark.parametrize(("keep", "kept"), [("best", 0), ("last", 2)])
def test_the_best_epoch_is_kept_or_the_last_where_that_is_asked(keep: str, kept: int) -> None:
    run = training.Fit(Plane(), msgspec.structs.replace(HYPER, keep=keep), 5, 1)
    for number, loss in enumerate((0.2, 0.5, 0.4)):
        next(iter(run.average.values())).fill_(number)
        run.record(Epoch(1, 1, loss, 1, 0.1, 1))
    assert run.best == kept
    assert next(iter(run.best_weights.values())).flatten()[0] == kept


def test_biases_and_norms_are_not_decayed() -> None:
    decayed, free = training.groups(Plane(), 0.05)
    assert {p.ndim for p in decayed["params"]} == {2}
    assert {p.ndim for p in free["params"]} == {1}
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.05, 0.0)
    assert len(decayed["params"]) + len(free["params"]) == len(list(Plane().parameters()))


def test_answers_cover_every_row_in_order(splits: Splits) -> None:
    rows = Points(600, 5)  # more than one batch of an evaluation
    logits, labels = training.answers(Plane().eval(), rows, torch.device("cpu"))
    assert logits.shape == (600, 2)
    np.testing.assert_array_equal(labels.numpy(), rows.labels)


def test_batch_norms_keep_their_statistics_where_that_is_asked(splits: Splits) -> None:
    def moved(norms: str) -> bool:
        hyper = Hyper(epochs=1, batch_size=8, learning_rate=0.02, norms=norms)
        fit = training.fit(Plane, splits, hyper, 7)
        return not torch.equal(weights(fit)["norm.running_mean"], torch.zeros(8))

    assert moved("learn")
    assert not moved("keep")


def test_progress_counts_the_steps_and_tells_the_accuracy_of_each_epoch(splits: Splits) -> None:
    told: list[tuple] = []

    def progress(done: float, total: float, *, loss: float, accuracy: float | None = None) -> None:
        told.append((done, total, accuracy))

    fit = training.fit(Plane, splits, HYPER, 7, progress=progress)
    assert [done for done, _, accuracy in told if accuracy is None] == list(range(1, 26))
    assert {total for _, total, _ in told} == {25}
    assert [a for _, _, a in told if a is not None] == [e.validation_accuracy for e in fit.history]
