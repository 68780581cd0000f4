"""Requests as a batch: padded once, copied only where they must be, and cut apart again."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import bundle
from service.engine import layout
from service.engine.latency import Bucket
from service.engine.layout import Layout


def layout_of(repository: Path, name: str, **fields: object) -> Layout:
    manifest = bundle.read(repository / name / "1")
    return Layout(msgspec.structs.replace(manifest, **fields))


@pytest.fixture(scope="module")
def text(repository: Path) -> Layout:
    return layout_of(repository, "toy-text")


@pytest.fixture(scope="module")
def image(repository: Path) -> Layout:
    return layout_of(repository, "toy-image")


def tokens(*ids: int, rows: int = 1) -> layout.Tensors:
    row = np.array([ids] * rows, dtype=np.int64)
    return {"input_ids": row, "attention_mask": np.ones_like(row)}


def test_lengths_are_filled_up_to_the_bucket(text: Layout):
    found = [text.bucket(tokens(*range(1, n + 1))) for n in (1, 4, 5, 16, 17)]
    assert [bucket.length for bucket in found] == [4, 4, 8, 16, 17]
    batch = text.join([tokens(2, 2), tokens(3)], 4)
    assert batch["input_ids"].tolist() == [[2, 2, 0, 0], [3, 0, 0, 0]]
    assert text.lengths([tokens(2, 2), tokens(3)], 4) == (3, 8)


def test_requests_of_one_bucket_may_be_padded_to_the_longest_of_them(text: Layout):
    requests = [tokens(2, 2, 3, 3, 2, 2), tokens(3, 3, 3, 3, 3)]
    assert (text.longest(requests), text.padded(requests)) == (6, 8)
    assert text.join(requests, 6)["input_ids"].shape == (2, 6)


def test_shapes_are_the_bucket_where_nothing_is_padded(image: Layout):
    assert image.bucket({"image": np.zeros((3, 1, 4, 4))}) == Bucket(1, ((1, 4, 4),))
    assert image.lengths([{"image": np.zeros((3, 1, 4, 4))}], 0) == (0, 0)


def test_the_order_of_a_requests_tensors_does_not_change_its_bucket(repository: Path):
    both = tuple(bundle.Tensor(name, "float32", ("batch", "n")) for name in "ab")
    plain = layout_of(repository, "toy-image", inputs=both)
    one, two = np.zeros((1, 1)), np.zeros((1, 2))
    assert plain.bucket({"a": one, "b": two}) == plain.bucket({"b": two, "a": one})


def test_a_lone_request_is_not_copied(image: Layout, text: Layout):
    picture = {"image": np.zeros((2, 1, 4, 4), np.float32)}
    assert image.join([picture], 0)["image"] is picture["image"]
    full = tokens(1, 2, 3, 1)
    assert text.join([full], 4)["input_ids"] is full["input_ids"]


@pytest.mark.parametrize("how", ["at an odd address", "in another order"])
def test_what_kernels_cannot_read_in_place_is(image: Layout, how: str):
    rows = np.random.default_rng(0).random((2, 1, 4, 4), np.float32)
    if how == "in another order":
        given = rows.transpose(0, 1, 3, 2)
        assert not given.flags.c_contiguous
    else:
        given = np.ndarray(rows.shape, rows.dtype, buffer=bytearray(rows.nbytes + 1), offset=1)
        given[...] = rows
        assert not given.flags.aligned
    joined = image.join([{"image": given}], 0)["image"]
    assert joined.flags.aligned
    assert joined.flags.c_contiguous
    np.testing.assert_array_equal(joined, given)


def test_any_axis_can_be_padded():
    joined = layout.pad([np.ones((1, 2, 3)), np.ones((2, 2, 1))], axis=2, length=4, value=-1)
    assert joined[:, 0].tolist() == [[1, 1, 1, -1], [1, -1, -1, -1], [1, -1, -1, -1]]


def test_buffers_take_a_batch_and_repeat_its_first_row(text: Layout):
    shapes = text.input_shapes(Bucket(4), 4)
    buffers = {name: np.full(shape or (), 9, np.int64) for name, shape in shapes.items()}
    text.fill(buffers, [tokens(2, 2), tokens(3)])
    assert buffers["input_ids"].tolist() == [[2, 2, 0, 0], [3, 0, 0, 0], *[[2, 2, 0, 0]] * 2]
    assert buffers["attention_mask"].sum(axis=1).tolist() == [2, 1, 2, 2]


@given(lengths=st.lists(st.tuples(st.integers(1, 8), st.integers(1, 3)), min_size=1, max_size=6))
def test_buffers_hold_what_join_makes(repository: Path, lengths: list[tuple[int, int]]):
    text = layout_of(repository, "toy-text")
    requests = [tokens(*range(1, 9), rows=1)]  # so that all are of one bucket
    requests += [tokens(*range(1, length + 1), rows=rows) for length, rows in lengths]
    joined = text.join(requests, 8)
    buffers = {name: np.full_like(array, 7) for name, array in joined.items()}
    text.fill(buffers, requests)
    for name, array in joined.items():
        np.testing.assert_array_equal(buffers[name], array)


def test_outputs_are_cut_to_each_requests_rows_and_length(repository: Path):
    per_token = bundle.Tensor("scores", "float32", ("batch", "sequence", 2))
    pooled = bundle.Tensor("pooled", "float32", ("batch", 2))
    text = layout_of(repository, "toy-text", outputs=(per_token, pooled))
    scores = np.arange(3 * 4 * 2, dtype=np.float32).reshape(3, 4, 2)
    outputs = {"scores": scores, "pooled": scores[:, 0]}
    first, second = text.cut([tokens(2, 2), tokens(3, 3, 3, rows=2)], outputs)
    np.testing.assert_array_equal(first["scores"], scores[:1, :2])
    np.testing.assert_array_equal(second["scores"], scores[1:, :3])
    np.testing.assert_array_equal(second["pooled"], scores[1:, 0])
    (alone,) = text.cut([tokens(2, 2)], {"pooled": scores[:1, 0]})
    assert list(alone) == ["pooled"]


def test_shapes_are_known_where_the_manifest_tells_them(text: Layout, repository: Path):
    ids = {"input_ids": (2, 8), "attention_mask": (2, 8)}
    assert text.input_shapes(Bucket(8), 2) == ids
    assert text.output_shapes(Bucket(8), 2) == {"probabilities": (2, 2)}
    assert text.bindable(Bucket(8), 2)
    odd = bundle.Tensor("found", "float32", ("batch", "found"))
    assert layout_of(repository, "toy-text", outputs=(odd,)).output_shapes(Bucket(8), 2) == {
        "found": None
    }
    extra = bundle.Tensor("extra", "float32", ("batch", "free"))
    manifest = bundle.read(repository / "toy-text" / "1")
    free = Layout(msgspec.structs.replace(manifest, inputs=(*manifest.inputs, extra)))
    assert not free.bindable(Bucket(8), 2)
    words = bundle.Tensor("words", "object", ("batch", 1))
    assert not layout_of(repository, "toy-image", inputs=(words,)).bindable(Bucket(1, ((1,),)), 1)
