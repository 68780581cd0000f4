import numpy as np

from models.bundle import Tensor
from models.profile.tensors import TensorSignals


def test_every_tensor_is_described_by_the_same_figures() -> None:
    signals = TensorSignals(
        (Tensor("a", "float32", ("batch", 2, 2)), Tensor("b", "int64", ("batch",)))
    )
    a = np.array([[[0, 1], [2, 5]], [[1, 1], [np.nan, np.inf]]], np.float32)
    found = signals.values({"a": a, "b": np.array([7, -7])}, 2)
    told = dict(zip(signals.names, found.T, strict=True))
    np.testing.assert_array_equal(told["a.mean"], [2, 1])
    np.testing.assert_array_equal(told["a.smallest"], [0, 1])
    np.testing.assert_array_equal(told["a.largest"], [5, 1])
    np.testing.assert_array_equal(told["a.zeros"], [0.25, 0])
    np.testing.assert_array_equal(told["a.missing"], [0, 0.5])
    np.testing.assert_array_equal(told["b.mean"], [7, -7])


def test_strings_have_a_length() -> None:
    signals = TensorSignals((Tensor("text", "object", ("batch", 1)),))
    assert signals.names == ("text.bytes",)
    found = signals.values({"text": np.array([[b"four"], [b""]], dtype=object)}, 2)
    np.testing.assert_array_equal(found, [[4], [0]])


def test_a_tensor_that_is_not_there_gives_nan() -> None:
    signals = TensorSignals((Tensor("a", "float32", ("batch",)),))
    assert np.isnan(signals.values({}, 3)).all()
