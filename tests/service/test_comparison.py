"""What speaks against a version is found before it answers anybody."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
import toys
import versions as variants

from models import bundle
from service import comparison


def test_agreement_is_by_label_and_not_by_place():
    ours = np.array([[0.9, 0.1], [0.2, 0.8]], np.float32)
    assert comparison.agreement(ours, ours, ("a", "b"), ("a", "b")) == 1
    assert comparison.agreement(ours, ours, ("a", "b"), ("b", "a")) == 0
    assert comparison.agreement(ours, ours[:, ::-1], ("a", "b"), ("b", "a")) == 1
    assert comparison.agreement(ours, ours[:1], ("a", "b"), ("a", "b")) == 0


def test_what_differs_before_the_graph_is_not_compared(tmp_path: Path):
    first, second = (variants.text(tmp_path, version) for version in (1, 2))
    one, two = bundle.read(first), bundle.read(second)
    assert comparison.incomparable(one, two) is None
    other = msgspec.structs.replace(two, files=two.files | {"tokenizer.json": "0" * 64})
    assert "make them in different ways" in (comparison.incomparable(one, other) or "")
    renamed = msgspec.structs.replace(two, labels=("x", "y"))
    assert comparison.incomparable(one, renamed) == "they have no label in common"
    silent = msgspec.structs.replace(two, outputs=())
    assert comparison.incomparable(one, silent) == "they give no probabilities"
    picture = bundle.read(toys.image(tmp_path))
    assert "take different tensors" in (comparison.incomparable(one, picture) or "")


@pytest.mark.parametrize("damage", ["manifest.json", "samples.npz"])
def test_without_kept_rows_there_is_nothing_to_compare(tmp_path: Path, damage: str):
    directory = variants.text(tmp_path, 1)
    assert comparison.kept(directory) is not None
    (directory / damage).unlink()
    assert comparison.kept(directory) is None
