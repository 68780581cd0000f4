"""What the load test sends is what the bundles keep."""

import json
from pathlib import Path

import numpy as np
import pytest
import toys
from tokenizers import Tokenizer

from loadtests.payloads import bodies, texts, workload
from models import bundle, tasks
from models.errors import BundleError


def test_picture_reads_back_as_the_row_it_was_made_of(tmp_path: Path) -> None:
    directory = toys.image(tmp_path)
    task = bundle.read(directory).task
    assert isinstance(task, tasks.ImageTask)
    rows = bundle.read_samples(directory)[0]["image"]
    sent = workload(tmp_path, "toy-image").payloads
    assert len(sent) == len(rows)
    for payload, row in zip(sent, rows, strict=True):
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
