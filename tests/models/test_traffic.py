"""Rows that were met while serving: kept whole, found again, and mixed with what was learnt before."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from models import bundle, tasks, traffic
from models.errors import DataError
from models.traffic import Joined, Labelled, Replay, Traffic

INPUTS = (
    bundle.Tensor("series", "float32", ("batch", "time", 2)),
    bundle.Tensor("lengths", "int32", ("batch",)),
)
PADDING = bundle.Padding("time", {"series": -1.0}, (8, 16))


def ragged(lengths: list[int], label: int = 0) -> Traffic:
    rows = [
        {
            "series": np.arange(2 * n, dtype=np.float32).reshape(n, 2) + n,
            "lengths": np.int32(n)[...],
        }
        for n in lengths
    ]
    return Traffic(rows, np.full(len(lengths), label, dtype=np.int64))


def kept(found: Traffic, tmp_path: Path) -> Traffic:
    data = traffic.encoded(found)
    (tmp_path / "traffic.npz").write_bytes(data)
    return traffic.read(tmp_path / "traffic.npz", hashlib.sha256(data).hexdigest())


class Model:
    """What a recipe says of such rows."""

    inputs, padding = INPUTS, PADDING
    task = tasks.SeriesTask("series", "lengths", ("x", "y"), 1, 16, 1.0)


class Base:
    """Base rows of length 3, numbered by their label."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator[traffic.Batch]:
        order = np.arange(self.count) if rng is None else rng.permutation(self.count)
        for start in range(0, self.count, size):
            chosen = order[start : start + size]
            rows = len(chosen)
            inputs = {
                "series": np.zeros((rows, 3, 2), dtype=np.float32),
                "lengths": np.full(rows, 3, dtype=np.int32),
            }
            yield inputs, 1000 + chosen


@given(st.lists(st.integers(1, 16), max_size=12))
def test_rows_come_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, lengths: list[int]):
    found = ragged(lengths)
    again = kept(found, tmp_path_factory.mktemp("traffic"))
    assert again.labels.tolist() == found.labels.tolist()
    assert [traffic.fingerprint(row) for row in again.rows] == [
        traffic.fingerprint(row) for row in found.rows
    ]


def test_the_same_rows_give_the_same_bytes():
    assert traffic.encoded(ragged([3, 5])) == traffic.encoded(ragged([3, 5]))


def test_another_file_is_refused(tmp_path: Path):
    (tmp_path / "traffic.npz").write_bytes(traffic.encoded(ragged([3])))
    with pytest.raises(DataError, match="expected was 0000"):
        traffic.read(tmp_path / "traffic.npz", "0" * 64)


@pytest.mark.parametrize(
    "arrays",
    [
        {"rows.series": np.zeros((4, 2), np.float32), "lengths.series": np.array([2, 1]), "labels": np.zeros(2)},
        {"rows.series": np.zeros((1, 3, 2), np.float32), "labels": np.zeros(2)},
        {"rows.series": np.zeros((1, 3, 2), np.float32)},
    ],
    ids=["lengths", "rows", "labels"],
)  # fmt: skip
def test_a_file_that_contradicts_itself_is_refused(tmp_path: Path, arrays: dict):
    path = tmp_path / "traffic.npz"
    np.savez(path, **arrays)
    with pytest.raises(DataError, match="no labelled rows"):
        traffic.read(path, hashlib.sha256(path.read_bytes()).hexdigest())


def test_a_rows_fingerprint_tells_values_types_and_shapes_apart():
    one = {"x": np.zeros((2, 3), np.float32)}
    others = [
        {"x": np.ones((2, 3), np.float32)},
        {"x": np.zeros((3, 2), np.float32)},
        {"x": np.zeros((2, 3), np.int32)},
        {"y": np.zeros((2, 3), np.float32)},
    ]
    assert len({traffic.fingerprint(row) for row in (one, *others)}) == 5


def test_rows_are_padded_as_the_model_declares():
    (batch, labels) = next(Labelled(ragged([2, 5]), INPUTS, PADDING).batches(2))
    assert batch["series"].shape == (2, 5, 2)
    assert (batch["series"][0, 2:] == -1).all()
    assert batch["lengths"].tolist() == [2, 5]
    assert labels.tolist() == [0, 0]


@pytest.mark.parametrize("count", [1, 7, 40])
def test_every_row_of_the_traffic_comes_once_in_a_pass(count: int):
    labelled = Labelled(Traffic(ragged([4] * count).rows, np.arange(count)), INPUTS, PADDING)
    mixed = Replay(Base(25), labelled, 0.75)
    drawn = np.concatenate([y for _, y in mixed.batches(8, np.random.default_rng(0))])
    assert sorted(drawn[drawn < 1000]) == list(range(count))


def test_base_rows_have_their_share_of_every_batch():
    mixed = Replay(Base(1000), Labelled(ragged([4] * 40), INPUTS, PADDING), 0.75)
    batches = list(mixed.batches(8, np.random.default_rng(0)))
    assert [int((y >= 1000).sum()) for _, y in batches] == [6] * 20
    assert len(mixed) == sum(len(y) for _, y in batches)


def test_without_a_share_there_are_no_base_rows():
    mixed = Replay(Base(10), Labelled(ragged([4] * 5), INPUTS, PADDING), 0.0)
    assert max(y.max() for _, y in mixed.batches(2, np.random.default_rng(0))) == 0


def test_a_pass_depends_on_its_generator_alone():
    """Otherwise a resumed run would take other steps than one that was not interrupted."""
    mixed = Replay(Base(100), Labelled(ragged([4] * 40), INPUTS, PADDING), 0.5)

    def labels(seed: int) -> list[int]:
        return [int(v) for _, y in mixed.batches(8, np.random.default_rng(seed)) for v in y]

    first = labels(1)
    assert labels(2) != first
    assert labels(1) == first


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_an_impossible_share_is_refused(share: float):
    with pytest.raises(DataError, match="share"):
        Replay(Base(1), Labelled(ragged([1]), INPUTS, PADDING), share)


def test_joined_examples_come_one_after_the_other():
    both = Joined(Base(3), Labelled(ragged([4, 4]), INPUTS, PADDING))
    assert len(both) == 5
    assert [y.tolist() for _, y in both.batches(8)] == [[1000, 1001, 1002], [0, 0]]


def test_some_rows_come_evenly_from_all_and_without_their_padding():
    lengths = list(range(1, 17))
    examples = Labelled(Traffic(ragged(lengths).rows, np.arange(16)), INPUTS, PADDING)
    found = traffic.some(examples, Model(), 4)
    assert found.labels.tolist() == [0, 5, 10, 15]
    assert [len(row["series"]) for row in found.rows] == [1, 6, 11, 16]
    again = [traffic.fingerprint(row) for row in traffic.some(examples, Model(), 99).rows]
    assert again == [traffic.fingerprint(row) for row in examples.traffic.rows]


def test_rows_of_traffic_vary_in_training_alone():
    def varied(row: dict, rng: np.random.Generator) -> dict:
        return row | {"series": -row["series"]}

    examples = Labelled(ragged([4, 4]), INPUTS, PADDING, varied)
    (judged, _), (trained, _) = (
        next(examples.batches(2, rng)) for rng in (None, np.random.default_rng(0))
    )
    np.testing.assert_array_equal(trained["series"], -judged["series"])


@given(st.floats(0, 0.99), st.integers(1, 60), st.integers(2, 20))
@example(0.7155029894254958, 41, 12)  # the traffic ends a little before the last batch would begin
def test_a_batch_has_the_share_of_base_rows_within_a_row(share: float, count: int, size: int):
    mixed = Replay(Base(7 * size), Labelled(ragged([3] * count), INPUTS, PADDING), share)
    batches = [labels for _, labels in mixed.batches(size, np.random.default_rng(0))]
    old = [int((labels >= 1000).sum()) for labels in batches]
    assert sum(len(labels) for labels in batches) - sum(old) == count
    for labels, base in zip(batches[:-1], old, strict=False):
        assert abs(base - share * size) < 1 + 1e-6
        assert len(labels) == size
