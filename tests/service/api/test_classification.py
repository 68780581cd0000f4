"""The classification extension: which classes, in which order, in which words."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models import bundle, tasks
from models.errors import InputError
from service.api.classification import classified


def manifest(*, batched: bool = True, labels: tuple[str, ...] = (), role=None) -> bundle.Manifest:
    return bundle.Manifest(
        name="m",
        version=1,
        description="",
        task=tasks.TensorTask(),
        labels=labels,
        inputs=(),
        outputs=(bundle.Tensor("y", "float32", ("batch", 3), role),),
        variants=(),
        metrics={},
        training=None,
        files={},
        batched=batched,
    )


def top(array: np.ndarray, count: int, about: bundle.Manifest) -> list:
    return classified({"y": array}, {"y": count}, about)["y"].tolist()


def test_an_output_has_labels_of_its_own_as_far_as_they_go():
    about = manifest(labels=("x", "y", "z"), role="probabilities")
    own = msgspec.structs.replace(about.outputs[0], labels=("a", "b"))
    about = msgspec.structs.replace(about, outputs=(own,))
    assert top(ROWS, 2, about)[0] == [b"0.700000:1:b", b"0.200000:2"]


def test_rows_that_run_apart_are_rows_nonetheless():
    about = msgspec.structs.replace(manifest(batched=False), most_rows=4)
    assert top(ROWS, 1, about) == [[b"0.700000:1"], [b"0.500000:0"]]


ROWS = np.array([[0.1, 0.7, 0.2], [0.5, 0.5, 0.0]], np.float32)


def test_the_largest_come_first_with_value_index_and_label():
    named = manifest(labels=("a", "b", "c"), role="probabilities")
    assert top(ROWS, 2, named) == [
        [b"0.700000:1:b", b"0.200000:2:c"],
        [b"0.500000:0:a", b"0.500000:1:b"],
    ]


def test_without_labels_or_for_something_else_there_is_no_third_part():
    assert top(ROWS, 1, manifest()) == [[b"0.700000:1"], [b"0.500000:0"]]
    embedding = manifest(labels=("a", "b", "c"), role="embedding")
    assert top(ROWS, 1, embedding) == [[b"0.700000:1"], [b"0.500000:0"]]
    other = manifest(labels=("a", "b"), role="logits")
    assert top(ROWS, 1, other) == [[b"0.700000:1"], [b"0.500000:0"]]


def test_more_than_there_are_means_all():
    assert [len(row) for row in top(ROWS, 99, manifest())] == [3, 3]


def test_of_many_equal_values_the_first_come_first():
    rows = np.tile(np.array([[0.0, 1.0]], np.float32), 100)
    assert top(rows, 3, manifest()) == [[b"1.000000:1", b"1.000000:3", b"1.000000:5"]]


def test_without_rows_the_whole_output_is_one():
    assert top(ROWS, 2, manifest(batched=False)) == [b"0.700000:1", b"0.500000:3"]
    assert top(np.float32(2), 5, manifest(batched=False)) == [b"2.000000:0"]


def test_axes_behind_the_rows_count_as_one():
    assert top(ROWS.reshape(1, 2, 3), 1, manifest()) == [[b"0.700000:1"]]


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0,)])
def test_nothing_has_no_classes(shape: tuple[int, ...]):
    assert classified({"y": np.empty(shape, np.float32)}, {"y": 1}, manifest())["y"].size == 0


@given(
    array=hnp.arrays(
        st.sampled_from([np.int64, np.uint64, np.int8, np.uint8, np.bool_, np.float16, np.float64]),
        st.tuples(st.integers(1, 3), st.integers(1, 5)),
    ),
    count=st.integers(1, 6),
)
def test_values_of_every_type_fall(array: np.ndarray, count: int):
    found = classified({"y": array}, {"y": count}, manifest())["y"]
    assert found.shape == (len(array), min(count, array.shape[1]))
    if array.dtype.kind == "f" and np.isnan(array).any():
        return  # NaN comes last, whatever the rest
    for row, names in zip(array, found, strict=True):
        chosen = row[[int(name.split(b":")[1]) for name in names]]
        np.testing.assert_array_equal(chosen, np.sort(row)[::-1][:count])


def test_others_stay_as_they_are_and_strings_are_refused():
    outputs = {"y": ROWS, "z": ROWS}
    assert classified(outputs, {"y": 1}, manifest())["z"] is ROWS
    with pytest.raises(InputError, match="'y' holds BYTES"):
        top(np.array([["a"]], object), 1, manifest())
