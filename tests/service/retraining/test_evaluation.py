"""What the gate is handed: answers of both to the same rows, costs without the machine's moods, and rows that must not judge."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import toys

from models import bundle
from models.errors import DataError
from models.traffic import Traffic
from service.errors import Refused, Unavailable
from service.retraining import evaluation
from service.retraining.evaluation import (
    Version,
    batches,
    check_comparable,
    evaluate,
    manifest_of,
    recorded,
)
from service.retraining.gate import Limits
from service.retraining.traffic import hashed

LIMITS = Limits()


@pytest.fixture
def manifest(tmp_path: Path) -> bundle.Manifest:
    return bundle.read(toys.image(tmp_path))


def version(manifest: bundle.Manifest) -> Version:
    """A version without an engine."""
    supervisor = SimpleNamespace(report={"variant": "fp32"})
    deployment: Any = SimpleNamespace(socket=None, supervisor=supervisor)
    return Version(deployment, manifest)


def accuracy(manifest: bundle.Manifest, value: float, n: int = 1000) -> bundle.Manifest:
    metric = bundle.Metric(value, n, value - 0.01, value + 0.01)
    return msgspec.structs.replace(manifest, metrics={"accuracy": metric})


def rows(count: int, begin: int = 0) -> Traffic:
    made = [{"image": np.full((1, 4, 4), i, np.float32)} for i in range(begin, begin + count)]
    return Traffic(made, np.arange(count) % 2)


def test_neighbours_of_one_shape_go_together_in_order():
    lengths = [3, 3, 3, 5, 5, 3]
    given = [{"x": np.zeros(length), "n": np.array(i)} for i, length in enumerate(lengths)]
    parts = [[int(row["n"]) for row in part] for part in batches(given, 2)]
    assert parts == [[0, 1], [2], [3, 4], [5]]


def test_without_rows_what_both_have_written_down_is_compared(manifest: bundle.Manifest):
    before = accuracy(manifest, 0.95)
    assert recorded(before, accuracy(manifest, 0.945), LIMITS).passed
    worse = recorded(before, accuracy(manifest, 0.93), LIMITS)
    assert (worse.name, worse.passed, worse.n) == ("memory", False, 1000)
    other = recorded(before, accuracy(manifest, 0.99, 500), LIMITS)
    assert not other.passed
    assert "no rows were held out that both versions have answered" in other.text


def test_versions_with_other_classes_or_tensors_are_not_compared(manifest: bundle.Manifest):
    check_comparable(manifest, manifest)
    with pytest.raises(Refused, match="has other classes"):
        check_comparable(manifest, msgspec.structs.replace(manifest, labels=("dark", "light")))
    named = (bundle.Tensor("picture", "float32", ("batch", 1, 4, 4)),)
    with pytest.raises(Refused, match="takes other tensors"):
        check_comparable(manifest, msgspec.structs.replace(manifest, inputs=named))


class Timed:
    """Stands in for the clock: what each round measures of both, in milliseconds."""

    def __init__(self, patch: pytest.MonkeyPatch, told: Iterator[tuple[float, float]]) -> None:
        self.rounds = 0

        async def p99(*_: Any) -> tuple[float, float]:
            self.rounds += 1
            return next(told)

        async def connected(_: Any) -> Any:
            return SimpleNamespace(close=lambda: None)

        patch.setattr(evaluation, "p99", p99)
        patch.setattr(evaluation, "connected", connected)
        patch.setattr(evaluation, "PAUSE_SECONDS", 0.0)


def endless(
    *first: tuple[float, float], then: tuple[float, float]
) -> Iterator[tuple[float, float]]:
    yield from first
    while True:
        yield then


async def test_a_busy_machine_makes_no_version_slow(
    manifest: bundle.Manifest, monkeypatch: pytest.MonkeyPatch
):
    both = version(manifest), version(manifest)
    timed = Timed(monkeypatch, endless(*[(0.4, 9.0)] * 12, then=(0.5, 0.6)))
    before, after = await evaluation.measured(*both, [], LIMITS)
    assert (before.p99_ms, after.p99_ms, timed.rounds) == (0.4, 0.6, 13)
    timed = Timed(monkeypatch, endless(then=(0.5, 0.6)))
    await evaluation.measured(*both, [], LIMITS)
    assert timed.rounds == evaluation.ROUNDS


async def test_a_version_that_is_slow_every_time_is_slow(
    manifest: bundle.Manifest, monkeypatch: pytest.MonkeyPatch
):
    timed = Timed(monkeypatch, endless(then=(5.0, 9.0)))
    _, after = await evaluation.measured(version(manifest), version(manifest), [], LIMITS)
    assert (after.p99_ms, timed.rounds) == (9.0, evaluation.MOST_ROUNDS)


async def judged(
    manifest: bundle.Manifest, patch: pytest.MonkeyPatch, trained: set[bytes]
) -> dict[str, bool]:
    """The gate's lines for a challenger that is always right, with rows that it may have learnt from."""
    Timed(patch, endless(then=(1.0, 1.0)))
    newest, old = rows(200), rows(50, begin=1000)

    async def answered(one: Version, asked: Any) -> np.ndarray:
        truth = np.arange(len(asked)) % 2
        return np.stack([1 - truth, truth], axis=1) * 0.9 + 0.05

    patch.setattr(evaluation, "answered", answered)
    both = version(manifest), version(manifest)
    found = await evaluate(*both, newest, old, trained, LIMITS)
    assert found.verdict.passed == all(line.passed for line in found.verdict.lines)
    assert found.accuracy.value == 1.0
    return {line.name: line.passed for line in found.verdict.lines}


async def test_rows_that_were_learnt_from_never_judge(
    manifest: bundle.Manifest, monkeypatch: pytest.MonkeyPatch
):
    clean = {hashed(row) for row in rows(100, begin=5000).rows}
    assert all((await judged(manifest, monkeypatch, clean)).values())
    for leaked in (rows(1, begin=7), rows(1, begin=1003)):
        lines = await judged(manifest, monkeypatch, clean | {hashed(leaked.rows[0])})
        assert [name for name, passed in lines.items() if not passed] == ["leakage"]


def test_a_version_that_is_away_is_asked_for_again_and_one_that_declares_nothing_is_not(
    tmp_path: Path,
) -> None:
    with pytest.raises(Unavailable, match="is not there now"):
        manifest_of(tmp_path / "1")
    with pytest.raises(DataError, match="declares no classes"):
        manifest_of(tmp_path)
