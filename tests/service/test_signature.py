"""What a model declares, held against what requests bring."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from models import bundle, tasks
from models.errors import InputError
from service import signature
from service.engine import lanes
from service.signature import Signature

Tensors = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def series(repository: Path) -> Signature:
    """series float32 [batch, time 3..8, 2], lengths int32 [batch]"""
    directory = repository / "toy-series" / "1"
    manifest = bundle.read(directory)
    return Signature(manifest, tasks.processor(manifest.task, directory))


@pytest.fixture(scope="module")
def image(repository: Path) -> Signature:
    """image float32 [batch, 1, 4, 4] -> logits, probabilities"""
    directory = repository / "toy-image" / "1"
    manifest = bundle.read(directory)
    return Signature(manifest, tasks.processor(manifest.task, directory))


def rows(count: int = 2, time: int = 5) -> Tensors:
    lengths = np.full(count, time, np.int32)
    return {"series": np.ones((count, time, 2), np.float32), "lengths": lengths}


def test_good_tensors_pass_in_the_models_order_and_are_not_copied(series: Signature):
    given = rows()
    checked = series.check({"lengths": given["lengths"], "series": given["series"]})
    assert list(checked) == ["series", "lengths"]
    assert all(checked[name] is given[name] for name in given)


@pytest.mark.parametrize("time", [3, 8])
def test_the_limits_of_the_padded_axis_are_within_it(series: Signature, time: int):
    series.check(rows(time=time))


BAD = {
    "nothing": ({}, "expected 2 inputs but got 0: 'series' is missing"),
    "one missing": ({"series": rows()["series"]}, "expected 2 .* 1: 'lengths' is missing"),
    "one unknown": (rows() | {"x": np.ones(1)}, "unexpected input 'x', .* series, lengths"),
    "another name": (
        {"series": rows()["series"], "x": rows()["lengths"]},
        "unexpected input 'x', the model takes series, lengths",
    ),
    "float64": (rows() | {"series": np.ones((2, 5, 2))}, "type float64, the model takes float32"),
    "the other byte order": (
        rows() | {"lengths": rows()["lengths"].astype(">i4")},
        "'lengths' has type int32, the model takes int32",
    ),
    "an axis too few": (
        rows() | {"series": np.ones((2, 5), np.float32)},
        r"shape \[2, 5\], the model takes \[-1, -1, 2\]",
    ),
    "an axis too many": (
        rows() | {"lengths": np.ones((2, 1), np.int32)},
        r"shape \[2, 1\], the model takes \[-1\]",
    ),
    "a scalar": (rows() | {"lengths": np.int32(1) * np.ones((), np.int32)}, r"shape \[\]"),
    "a fixed axis": (
        rows() | {"series": np.ones((2, 5, 3), np.float32)},
        r"shape \[2, 5, 3\], the model takes \[-1, -1, 2\]",
    ),
    "no rows": (rows(0), r"shape \[0, 5, 2\]"),
    "no time": (rows(time=0), r"shape \[2, 0, 2\]"),
    "rows that disagree": (
        rows() | {"lengths": rows(3)["lengths"]},
        "axis 'batch' has 2 elements in 'series' but 3 in 'lengths'",
    ),
    "too short": (rows(time=2), "axis 'time' has 2 elements, the model takes 3 to 8"),
    "too long": (rows(time=9), "axis 'time' has 9 elements, the model takes 3 to 8"),
    "a length beyond the end": (
        rows() | {"lengths": np.array([5, 6], np.int32)},
        "'lengths' holds 5 to 6, 'series' has 5",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_named_with_both_figures(series: Signature, case: str):
    tensors, says = BAD[case]
    with pytest.raises(InputError, match=says):
        series.check(tensors)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 7, 15])
def test_one_number_that_is_not_finite_is_found_anywhere(
    image: Signature, value: float, place: int
):
    pixels = np.ones((1, 1, 4, 4), np.float32)
    pixels.ravel()[place] = value
    with pytest.raises(InputError, match="'image' holds NaN or an infinity"):
        image.check({"image": pixels})


@given(
    st.sampled_from(["float16", "float32", "float64"]).flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(max_dims=3, max_side=5))
    )
)
def test_finite_says_what_numpy_says_without_a_warning(array: np.ndarray):
    # Also for numbers whose squares overflow: warnings are errors here.
    for view in (array, array.T, array[::-1]):
        assert signature.finite(view) == bool(np.isfinite(view).all())


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_large_numbers_are_finite_though_their_squares_are_not(dtype: str):
    assert signature.finite(np.full(16, np.finfo(dtype).max, dtype))
    assert signature.finite(np.full(16, np.finfo(dtype).min, dtype))


def test_outputs_are_those_asked_for_in_that_order_or_else_all(image: Signature):
    assert image.check_outputs([]) == ["logits", "probabilities"]
    assert image.check_outputs(["probabilities"]) == ["probabilities"]
    assert image.check_outputs(["probabilities", "logits"]) == ["probabilities", "logits"]
    with pytest.raises(InputError, match="unexpected output 'y', the model gives logits, prob"):
        image.check_outputs(["logits", "y"])


# -- what only a graph has declared


def bare(*inputs: bundle.Tensor, batched: bool, **told: Any) -> Signature:
    """As an engine tells it of a version without a manifest."""
    output = bundle.Tensor("y", "float32", ("n",))
    manifest = bundle.Manifest(
        name="bare",
        version=1,
        description="",
        task=tasks.TensorTask(),
        labels=(),
        inputs=inputs,
        outputs=(output,),
        variants=(),
        metrics={},
        training=None,
        files={},
        batched=batched,
        **told,
    )
    return Signature(manifest, tasks.processor(manifest.task, Path()))


STATE = (
    bundle.Tensor("input", "float32", ("n", "t")),
    bundle.Tensor("state", "float32", (2, "n", 4)),
    bundle.Tensor("sr", "int32", ()),
    bundle.Tensor("w", "float32", (3,), optional=True),
)


def test_a_request_that_runs_alone_is_one_row_whatever_its_shape():
    one = bare(*STATE, batched=False)
    sent = {
        "input": np.ones((5, 7), np.float32),
        "state": np.ones((2, 1, 4), np.float32),  # a graph may use one name for two lengths
        "sr": np.array(16000, np.int32),
    }
    assert list(one.check(sent)) == ["input", "state", "sr"]
    assert one.rows(sent) == 1
    assert list(one.check(sent | {"w": np.ones(3, np.float32)})) == ["input", "state", "sr", "w"]


def test_what_has_a_value_of_its_own_may_be_missing_and_nothing_else():
    one = bare(*STATE, batched=False)
    with pytest.raises(InputError, match="expected 3 inputs but got 1: 'input' is missing"):
        one.check({"w": np.ones(3, np.float32)})
    with pytest.raises(
        InputError, match="unexpected input 'x', the model takes input, state, sr, w"
    ):
        one.check({"x": np.ones(3, np.float32)})


def test_rows_are_counted_and_must_agree_where_they_run_together():
    one = bare(
        bundle.Tensor("a", "float32", ("batch", "t")),
        bundle.Tensor("b", "float32", ("batch", "t")),
        batched=True,
    )
    same = {"a": np.ones((2, 3), np.float32), "b": np.ones((2, 9), np.float32)}
    assert one.rows(one.check(same)) == 2
    with pytest.raises(InputError, match="'batch' has 2 elements in 'a' but 3 in 'b'"):
        one.check(same | {"b": np.ones((3, 3), np.float32)})


def test_nan_and_empty_tensors_pass_where_only_a_graph_speaks():
    one = bare(bundle.Tensor("x", "float32", ("batch", "past", 4)), batched=True)
    one.check({"x": np.full((1, 2, 4), np.nan, np.float32)})
    one.check({"x": np.ones((1, 0, 4), np.float32)})
    assert one.rows({"x": np.ones((0, 1, 4), np.float32)}) == 0


@pytest.mark.parametrize("shape", [(), (2,), (1, 2, 3), (0,)])
def test_any_number_of_axes_passes_where_none_is_declared(shape: tuple[int, ...]):
    one = bare(bundle.Tensor("x", "float32", bundle.ANY_RANK), batched=False)
    one.check({"x": np.ones(shape, np.float32)})


def test_strings_must_be_text():
    one = bare(bundle.Tensor("x", "object", ("n",)), batched=False)
    one.check({"x": np.array(["Grün".encode(), b"", b"a\0b"], object)})
    with pytest.raises(InputError, match=r"input 'x': element 1 is not UTF-8: .*0xff"):
        one.check({"x": np.array([b"a", b"\xff"], object)})


@pytest.mark.parametrize("batched", [True, False])
def test_rows_beyond_those_that_somebody_has_allowed_are_refused(batched: bool):
    x = bundle.Tensor("x", "float32", ("batch", 2))
    one = bare(x, batched=batched, most_rows=3)
    assert one.rows(one.check({"x": np.zeros((3, 2), np.float32)})) == 3
    with pytest.raises(InputError, match="has 4 rows, the model takes at most 3"):
        one.check({"x": np.zeros((4, 2), np.float32)})


def test_rows_agree_in_all_inputs_but_those_with_a_value_of_their_own():
    x = bundle.Tensor("x", "float32", ("batch", 2))
    z = bundle.Tensor("z", "float32", ("batch",))
    one = bare(x, z, *STATE[3:], batched=False, most_rows=9)
    given = {"x": np.zeros((3, 2), np.float32), "z": np.zeros(3, np.float32)}
    assert one.check(given).keys() == {"x", "z"}
    with pytest.raises(InputError, match="axis 'batch' has 3 elements in 'x' but 2 in 'z'"):
        one.check(given | {"z": np.zeros(2, np.float32)})


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (None, {0: lanes.NORMAL, 1: lanes.HIGH, 2: lanes.NORMAL, 3: lanes.LOW}),
        ((1, 1), {0: lanes.NORMAL, 1: lanes.NORMAL, 2: lanes.NORMAL}),
        ((2, 1), {0: lanes.NORMAL, 1: lanes.NORMAL, 2: lanes.LOW, 3: lanes.NORMAL}),
        ((2, 2), {1: lanes.HIGH, 2: lanes.NORMAL, 3: lanes.NORMAL}),
        ((5, 3), {1: lanes.HIGH, 2: lanes.HIGH, 3: lanes.NORMAL, 4: lanes.LOW, 5: lanes.LOW}),
    ],
)
def test_a_level_of_priority_is_before_at_or_after_the_default(
    told: tuple[int, int] | None, expected: dict[int, int]
):
    one = bare(STATE[0], batched=False, priorities=told)
    assert {level: one.lane(level) for level in expected} == expected


def test_an_unknown_level_of_priority_is_refused_where_the_model_tells_of_none():
    with pytest.raises(InputError, match="'priority' is 4, known are 0, 1, 2, 3"):
        bare(STATE[0], batched=False).lane(4)
