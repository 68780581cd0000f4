"""A body that is one tensor: its shape comes from the model."""

import numpy as np
import pytest

from models import bundle, tasks
from models.errors import InputError
from service.api import whole


def manifest(*inputs: tuple[str, tuple], batched: bool = True) -> bundle.Manifest:
    return bundle.Manifest(
        name="m",
        version=1,
        description="",
        task=tasks.TensorTask(),
        labels=(),
        inputs=tuple(
            bundle.Tensor(f"x{n}", dtype, shape) for n, (dtype, shape) in enumerate(inputs)
        ),
        outputs=(),
        variants=(),
        metrics={},
        training=None,
        files={},
        batched=batched,
    )


@pytest.mark.parametrize(
    ("dtype", "shape", "batched", "values", "expected"),
    [
        ("float32", ("batch", 3), True, 3, (1, 3)),
        ("float32", ("batch", "time", 2), True, 8, (1, 4, 2)),
        ("int8", ("?",), False, 5, (5,)),
        ("float64", (2, 2), False, 4, (2, 2)),
        ("float32", (), False, 1, ()),
    ],
)
def test_the_one_open_axis_follows_from_the_length(dtype, shape, batched, values, expected):
    data = np.arange(values, dtype=dtype)
    asked, given = whole.parse(data.tobytes(), manifest((dtype, shape), batched=batched))
    np.testing.assert_array_equal(given["x0"], data.reshape(expected))
    assert asked.binary_default


@pytest.mark.parametrize("shape", [("batch", 1), ("batch",)])
def test_a_string_is_the_body_without_a_length(shape: tuple):
    _, given = whole.parse(b"\x00\x01 text", manifest(("object", shape)))
    assert given["x0"].ravel().tolist() == [b"\x00\x01 text"]


@pytest.mark.parametrize(
    ("inputs", "body", "says"),
    [
        ([("float32", (1,))] * 2, b"", "the model takes 2"),
        ([("float32", ("batch", "a", "b"))], b"1234", "more than one axis of any length"),
        ([("float32", ("...",))], b"1234", "more than one axis"),
        ([("float32", ("batch", 3))], b"1" * 11, r"has 11 bytes, shape \[1, 3\] of FP32 needs 12"),
        ([("float32", ("batch", "a", 3))], b"1" * 13, r"has 13 bytes, shape \[1, 1, 3\]"),
        ([("object", ("batch", 3))], b"x", "takes 3 strings, a body is one"),
    ],
)
def test_what_the_model_leaves_open_is_refused(inputs: list, body: bytes, says: str):
    with pytest.raises(InputError, match=says):
        whole.parse(body, manifest(*inputs))
