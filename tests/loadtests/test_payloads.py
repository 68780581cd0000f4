"""What the load test sends is what the bundles keep."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import toys
from tokenizers import Tokenizer

from loadtests.payloads import HEADER_LENGTH, bodies, rows, texts, workload
from models import bundle, tasks
from models.errors import BundleError
from service.api import tensors


def test_picture_reads_back_as_the_row_it_was_made_of(tmp_path: Path) -> None:
    directory = toys.image(tmp_path)
    task = bundle.read(directory).task
    assert isinstance(task, tasks.ImageTask)
    kept = bundle.read_samples(directory)[0]["image"]
    sent = workload(tmp_path, "toy-image").payloads
    assert len(sent) == len(kept)
    for payload, row in zip(sent, kept, strict=True):
        read = tasks.ImageProcessor(task).row(payload.body)["image"]
        np.testing.assert_allclose(read, row, atol=0.5 / 255)


def test_series_is_cut_to_its_length(tmp_path: Path) -> None:
    directory = toys.series(tmp_path)
    inputs = bundle.read_samples(directory)[0]
    inputs["lengths"][:] = np.arange(16) % 6 + 3
    sent = bodies(bundle.read(directory).task, inputs, directory)
    assert [len(json.loads(p.body)["series"]) for p in sent] == inputs["lengths"].tolist()


def test_text_leaves_out_padding_and_what_no_longer_fits(tmp_path: Path) -> None:
    directory = toys.text(tmp_path)
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    task = tasks.TextTask("ids", "mask", "tokenizer.json", 4)
    ids = np.array(
        [[2, 3, 0, 0], [2, 1, 1, 0], [0, 0, 0, 0]]
    )  # "[UNK]" is read again as three words
    mask = np.array([[1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 0]])
    assert list(texts(task, {"ids": ids, "mask": mask}, tokenizer)) == ["good bad"]


def test_labels_are_the_manifests(tmp_path: Path) -> None:
    toys.text(tmp_path)
    assert workload(tmp_path, "toy-text").labels == {"positive", "negative"}


def test_model_without_a_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        workload(tmp_path, "nobody")


def test_tensors_are_read_by_the_service_as_the_rows_they_were_made_of(tmp_path: Path) -> None:
    directory = toys.image(tmp_path)
    kept = bundle.read_samples(directory)[0]["image"]
    sent = workload(tmp_path, "toy-image", "v2").payloads
    assert len(sent) == len(kept)
    for payload, row in zip(sent, kept, strict=True):
        asked, read = tensors.parse(payload.body, payload.headers[HEADER_LENGTH])
        np.testing.assert_array_equal(read["image"], row[None])
        assert asked.outputs == ("probabilities",)
        assert asked.binary["probabilities"]


def test_series_as_tensors_is_cut_to_its_length(tmp_path: Path) -> None:
    directory = toys.series(tmp_path)
    inputs = bundle.read_samples(directory)[0]
    inputs["lengths"][:] = np.arange(16) % 6 + 3
    for row in rows(bundle.read(directory).task, inputs):
        assert row["series"].shape == (1, int(row["lengths"][0]), 2)
        assert row["lengths"].shape == (1,)


def test_text_as_tensors_leaves_out_padding_and_empty_rows() -> None:
    task = tasks.TextTask("ids", "mask", "tokenizer.json", 4)
    ids = np.array([[2, 3, 0, 0], [0, 0, 0, 0]])
    mask = np.array([[1, 1, 0, 0], [0, 0, 0, 0]])
    sent = list(rows(task, {"ids": ids, "mask": mask}))
    assert [row["ids"].tolist() for row in sent] == [[[2, 3]]]
    assert [row["mask"].tolist() for row in sent] == [[[1, 1]]]


@pytest.mark.parametrize("make", [toys.image, toys.series, toys.text])
def test_tensors_are_what_the_manifest_declares(make: Callable, tmp_path: Path) -> None:
    manifest = bundle.read(make(tmp_path))
    for payload in workload(tmp_path, manifest.name, "v2").payloads:
        _, sent = tensors.parse(payload.body, payload.headers[HEADER_LENGTH])
        assert sent.keys() == {tensor.name for tensor in manifest.inputs}
        for tensor in manifest.inputs:
            array = sent[tensor.name]
            assert array.dtype.name == tensor.dtype
            assert len(array) == 1
            for axis, count in zip(tensor.shape, array.shape, strict=True):
                assert isinstance(axis, str) or axis == count
