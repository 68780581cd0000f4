"""What a model was given, kept and read back."""

import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import DataError
from service.monitoring import payloads


def test_tensors_come_back_with_type_shape_and_values():
    row = {
        "image": np.arange(12, dtype=np.float32).reshape(1, 3, 4),
        "length": np.array(7, np.int32),
        "empty": np.empty((0, 2), np.int64),
    }
    found = payloads.decode(payloads.encode(row))
    assert found.keys() == row.keys()
    for name, array in row.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert (found[name] == array).all()


def test_strings_come_back_as_bytes():
    words = np.array([["a", "longer"], [b"", "é"]], dtype=object)
    found = payloads.decode(payloads.encode({"text": words}))["text"]
    assert found.tolist() == [[b"a", b"longer"], [b"", "é".encode()]]


@given(st.binary(max_size=60))
def test_what_was_not_kept_here_is_refused_in_a_sentence(data: bytes):
    for attempt in (data, zlib.compress(data)):
        with pytest.raises(DataError, match="cannot be read"):
            payloads.decode(attempt + b"\0")
