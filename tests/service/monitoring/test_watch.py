"""Rows of several requests are looked at together, padded as the model takes them, and nobody else's outputs are asked for."""

from pathlib import Path

import msgspec
import numpy as np
import profiled
import pytest
import toys

from models import bundle, profile
from service.monitoring.observed import column
from service.monitoring.watch import Watch, watch


@pytest.fixture
def pictures(tmp_path: Path) -> Watch:
    directory = profiled.image(tmp_path)
    return Watch(bundle.read(directory), directory, profile.read(directory))


def of(directory: Path) -> Watch:
    return Watch(bundle.read(directory), directory, None)


def test_outputs_that_are_looked_at_come_after_those_the_caller_wants(pictures: Watch):
    assert pictures.outputs(["logits"]) == ["logits", "probabilities"]
    assert pictures.outputs([]) == ["probabilities", "logits"]


def test_without_a_profile_only_what_was_predicted_is_asked_for(tmp_path: Path):
    one = of(toys.image(tmp_path))
    assert (one.outputs(()), one.profile) == (["probabilities"], "")
    images = profiled.pictures(np.random.default_rng(0), 3)
    found = one.look({"image": images}, profiled.answers(images))
    assert found.bins == found.estimates == b""
    assert len(column(found.labels, "<i4")) == 3


def test_rows_are_binned_as_the_profile_does(pictures: Watch):
    images = profiled.pictures(np.random.default_rng(0), 30)
    found = pictures.look({"image": images}, profiled.answers(images))
    known = profiled.reference()
    assert pictures.profile == known.sha256
    assert (column(found.bins, "u1", len(known.signals)) == profiled.bins(images)).all()


def test_figures_of_rows_add_up_to_the_profiles_own_estimate(pictures: Watch):
    images = profiled.pictures(np.random.default_rng(0), 300)
    outputs = profiled.answers(images)
    rows = column(pictures.look({"image": images}, outputs).estimates, "<f4", 2)
    known = profiled.reference().estimate
    assert known is not None
    sums = known.sums(outputs["probabilities"])
    assert rows.sum(axis=0).tolist() == pytest.approx([sums["confidence"], sums["above"]], rel=1e-5)


def test_texts_of_several_lengths_are_looked_at_together_with_the_models_padding(tmp_path: Path):
    one = of(toys.text(tmp_path))
    parts = [
        {name: np.full((rows, length), 1, np.int64) for name in ("input_ids", "attention_mask")}
        for rows, length in ((2, 3), (1, 5))
    ]
    assert one.shape(parts[0]) == one.shape(parts[1])
    joined = one.joined(parts)
    assert joined["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1, 1, 1, 0, 0], [1] * 5]


def test_series_are_padded_along_time_alone(tmp_path: Path):
    one = of(toys.series(tmp_path))
    parts = [
        {"series": np.ones((1, time, 2), np.float32), "lengths": np.array([time], np.int32)}
        for time in (4, 6)
    ]
    joined = one.joined(parts)
    assert joined["series"].shape == (2, 6, 2)
    assert joined["series"][0, 4:].sum() == 0
    assert joined["lengths"].tolist() == [4, 6]


def test_rows_of_other_types_or_shapes_are_kept_apart(pictures: Watch):
    one, other = np.ones((1, 1, 4, 4), np.float32), np.ones((1, 1, 5, 4), np.float32)
    assert pictures.shape({"image": one}) != pictures.shape({"image": other})
    assert pictures.shape({"image": one}) != pictures.shape({"image": one.astype(np.float64)})


def test_a_model_whose_requests_are_no_rows_is_not_watched(tmp_path: Path):
    directory = toys.image(tmp_path)
    manifest = bundle.read(directory)
    assert watch(manifest, directory, None) is not None
    alone = msgspec.structs.replace(manifest, batched=False)
    assert watch(alone, directory, None) is None
