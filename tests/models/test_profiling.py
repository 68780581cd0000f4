from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
import toys

from models import bundle, profile, profiling, report
from models.profile import Batch
from models.recipes import activity_lstm


class Pictures:
    """Rows for the toy that tells light pictures from dark ones."""

    def __init__(self, rows: int) -> None:
        self.images = np.random.default_rng(0).random((rows, 1, 4, 4), dtype=np.float32)
        self.labels = (self.images.mean(axis=(1, 2, 3)) < 0.5).astype(np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def batches(self, size: int, rng: np.random.Generator | None = None) -> Iterator:
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            yield {"image": self.images[part]}, self.labels[part]


@pytest.fixture
def toy(tmp_path: Path) -> tuple[bundle.Manifest, Path]:
    """A bundle with fp32 and int8, whose files are the same."""
    directory = toys.image(tmp_path)
    manifest = bundle.read(directory)
    fp32 = manifest.variants[0]
    (directory / "model.int8.onnx").write_bytes((directory / fp32.file).read_bytes())
    int8 = msgspec.structs.replace(fp32, name="int8", file="model.int8.onnx")
    return msgspec.structs.replace(manifest, variants=(fp32, int8)), directory


def test_int8_beside_fp32_has_a_profile_of_its_own(toy: tuple[bundle.Manifest, Path]) -> None:
    manifest, directory = toy
    made = profiling.build(manifest, directory, profiling.Rows(Pictures(320), [], "drawn rows"))
    both = profile.read(directory, "fp32"), profile.read(directory, "int8")
    assert [one.variant for one in both] == ["fp32", "int8"]
    assert made == both[0]
    assert made.rows == made.estimate.n == 320
    assert (made.source, made.data_sha256) == ("drawn rows", "0" * 64)


def test_rows_of_folds_join_and_leave_only_signals_that_all_rows_have(
    toy: tuple[bundle.Manifest, Path],
) -> None:
    manifest, directory = toy
    rows = Pictures(200)
    shares = {"probabilities": np.full((200, 2), 0.5, np.float32)}
    fold = Batch({"image": rows.images}, shares, rows.labels)
    made = profiling.build(manifest, directory, profiling.Rows(rows, [fold], "both"))
    assert made.rows == 400
    assert "energy" not in made.names
    assert "confidence" in made.names
    assert profile.read(directory, "int8") == made


def test_a_network_that_was_never_exported_answers_without_an_embedding() -> None:
    class Network(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            flat = image.flatten(1)
            return flat[:, :2], flat

    batches = list(profiling.answered(Network(), Pictures(100)))
    assert [len(one.labels) for one in batches] == [64, 36]
    for one in batches:
        assert set(one.outputs) == {"logits", "probabilities"}
        np.testing.assert_allclose(one.outputs["probabilities"].sum(axis=1), 1, rtol=1e-6)


def test_the_source_counts_both_kinds_of_rows() -> None:
    recipe, rows = activity_lstm.ActivityLstm(), Pictures(1200)
    fold = Batch({}, {}, np.zeros(34, np.int64))
    assert profiling.source(recipe, rows, []) == "the 1,200 held-out windows of 4 s"
    assert "and 34 out-of-fold ones" in profiling.source(recipe, rows, [fold])


def test_the_card_tells_of_the_reference_once_before_the_limits(
    toy: tuple[bundle.Manifest, Path],
) -> None:
    made = profiling.build(*toy, profiling.Rows(Pictures(320), [], "the 320 drawn rows"))
    card = "# toy\n\n## Variants\n\nsome\n\n## Limits\n\nmany\n"
    once = report.with_reference(card, made)
    assert "on 320 rows: the 320 drawn rows. Traffic is compared" in once
    assert once.index(report.REFERENCE) < once.index(report.LIMITS)
    assert once.startswith("# toy\n\n## Variants\n\nsome\n\n")
    assert once.endswith("## Limits\n\nmany\n")
    assert report.with_reference(once, made) == once
