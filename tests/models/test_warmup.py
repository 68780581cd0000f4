"""The requests that a Triton configuration warms its model with: made as it says, or refused with the sample's name."""

import struct
from pathlib import Path

import numpy as np
import pytest

from models import triton, warmup
from models.errors import BundleError
from models.modelconfig import DTYPES
from models.triton import TritonConfig

BERT = """
max_batch_size: 16
model_warmup [
  {
    name: "short"
    batch_size: 4
    count: 2
    inputs { key: "input_ids" value: { data_type: TYPE_INT64 dims: [ 8 ] random_data: true } }
    inputs { key: "attention_mask" value: { data_type: TYPE_INT64 dims: [ 8 ] zero_data: true } }
  }
]
"""


def read(text: str, directory: Path) -> TritonConfig:
    path = directory / "m" / triton.FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return triton.read(path)


def test_rows_are_repeated_to_the_batch(tmp_path: Path):
    (sample,) = read(BERT, tmp_path).warmup
    rows = warmup.rows(sample, True, tmp_path / "m")
    assert {name: (array.dtype.name, array.shape) for name, array in rows.items()} == {
        "input_ids": ("int64", (4, 8)),
        "attention_mask": ("int64", (4, 8)),
    }
    assert not rows["attention_mask"].any()
    assert (rows["input_ids"] == rows["input_ids"][0]).all()
    assert rows["input_ids"].any()


def warm_up(told: str, directory: Path, content: bytes = b"") -> np.ndarray:
    """The one input of a model that is not batched."""
    text = f'model_warmup {{ name: "a" inputs {{ key: "x" value {{ {told} }} }} }}'
    config = read(text, directory)
    (directory / "m" / warmup.DIRECTORY).mkdir(exist_ok=True)
    (directory / "m" / warmup.DIRECTORY / "file").write_bytes(content)
    return warmup.rows(config.warmup[0], False, directory / "m")["x"]


@pytest.mark.parametrize("data_type", DTYPES)
@pytest.mark.parametrize("source", ["zero_data", "random_data"])
def test_a_warm_up_of_every_type_is_made(data_type: str, source: str, tmp_path: Path):
    array = warm_up(f"data_type: {data_type} dims: [2, 3] {source}: true", tmp_path)
    assert (array.dtype, array.shape) == (np.dtype(DTYPES[data_type]), (2, 3))


def test_a_warm_up_is_read_from_its_file(tmp_path: Path):
    floats = np.array([[1, 2], [3, 4]], np.float32)
    told = 'data_type: TYPE_FP32 dims: [2, 2] input_data_file: "file"'
    np.testing.assert_array_equal(warm_up(told, tmp_path, floats.tobytes()), floats)
    texts = b"".join(struct.pack("<I", len(one)) + one for one in (b"a", b"", b"long"))
    told = 'data_type: TYPE_STRING dims: [3] input_data_file: "file"'
    assert warm_up(told, tmp_path, texts).tolist() == [b"a", b"", b"long"]


@pytest.mark.parametrize(
    ("told", "content", "says"),
    [
        ('TYPE_FP32 dims: 2 input_data_file: "file"', b"abc", "3 bytes, 2 elements .* need 8"),
        ('TYPE_STRING dims: 1 input_data_file: "file"', b"\5\0\0\0ab", "ends within string 1 of 1"),
        ('TYPE_STRING dims: 1 input_data_file: "file"', b"\0\0\0\0ab", "2 bytes after its 1"),
        ('TYPE_FP32 dims: 2 input_data_file: "nothing"', b"", "nothing: No such file"),
        ("TYPE_BF16 dims: 2 zero_data: true", b"", "input 'x': TYPE_BF16 is not supported"),
        ("TYPE_FP32 dims: [65536, 65536]", b"", "4,294,967,296 elements, the limit is"),
    ],
)
def test_a_warm_up_that_cannot_be_made_is_named(
    told: str, content: bytes, says: str, tmp_path: Path
):
    with pytest.raises(BundleError, match=says):
        warm_up(f"data_type: {told}", tmp_path, content)
