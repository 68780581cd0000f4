"""The version that a retraining goes on from: what is inherited from it, and what is not."""

from pathlib import Path

import jobs
import msgspec
import numpy as np
import pytest
import torch
import toys
from safetensors.torch import save_file

from models import bundle, parent
from models.errors import BundleError, DataError
from models.recipes import Rows, from_file

RECIPE = from_file(jobs.RECIPE)


def champion(directory: Path, *, weights: bool = True, **parameters: object) -> parent.Parent:
    """A version with these hyper-parameters, of which nothing else matters."""
    manifest = bundle.read(toys.image(directory / "toys"))
    record = msgspec.structs.replace(toys.TRAINING, parameters=parameters)
    files = {}
    if weights:
        save_file(RECIPE.network(RECIPE.hyper).state_dict(), directory / "weights.safetensors")
        files["weights.safetensors"] = ""
    told = msgspec.structs.replace(manifest, training=record, files=files)
    return parent.Parent(directory, told)


def test_without_a_parent_the_recipes_hyper_parameters_hold() -> None:
    assert parent.hyper_of(RECIPE, None, {}) == RECIPE.hyper


def test_a_parents_hyper_parameters_are_inherited_but_for_those_of_a_fine_tuning(
    tmp_path: Path,
) -> None:
    before = champion(tmp_path, batch_size=7, epochs=99, of_an_older_recipe=1)
    hyper = parent.hyper_of(RECIPE, before, {})
    assert (hyper.batch_size, hyper.epochs, hyper.learning_rate) == (7, 5, 2e-3)


def test_where_no_weights_were_shipped_it_is_trained_as_from_the_beginning(tmp_path: Path) -> None:
    before = champion(tmp_path, weights=False, batch_size=7, epochs=5)
    hyper = parent.hyper_of(RECIPE, before, {})
    assert (hyper.batch_size, hyper.epochs) == (7, RECIPE.hyper.epochs)
    assert before.weights is None


def test_what_is_told_stands_above_all(tmp_path: Path) -> None:
    hyper = parent.hyper_of(RECIPE, champion(tmp_path, batch_size=7), {"batch_size": 9})
    assert hyper.batch_size == 9


def test_weights_that_are_listed_but_gone_are_none(tmp_path: Path) -> None:
    before = champion(tmp_path)
    assert before.weights is not None
    before.weights.unlink()
    assert before.weights is None


def test_a_network_has_the_weights_that_it_is_given(tmp_path: Path) -> None:
    path = champion(tmp_path).weights
    torch.manual_seed(3)
    network = parent.network_of(RECIPE, RECIPE.hyper, path)
    other = parent.network_of(RECIPE, RECIPE.hyper, None)
    again = parent.network_of(RECIPE, RECIPE.hyper, path)
    assert torch.equal(network.classify.weight, again.classify.weight)
    assert not torch.equal(network.classify.weight, other.classify.weight)


@pytest.mark.parametrize("wrong", ["shape", "file"])
def test_weights_of_another_network_are_refused(tmp_path: Path, wrong: str) -> None:
    path = tmp_path / "weights.safetensors"
    if wrong == "shape":
        save_file({"classify.weight": torch.zeros(1, 1)}, path)
    else:
        path.write_bytes(b"no weights")
    with pytest.raises(BundleError, match="does not fit"):
        parent.network_of(RECIPE, RECIPE.hyper, path)


def test_another_models_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds toy-image, the recipe makes shapes-cnn"):
        parent.read(toys.image(tmp_path), RECIPE)


def test_a_damaged_version_is_refused(tmp_path: Path) -> None:
    directory = toys.image(tmp_path)
    (directory / "samples.npz").write_bytes(b"other")
    with pytest.raises(BundleError, match="sha256"):
        parent.read(directory, RECIPE)


def test_both_versions_files_are_compared_row_by_row(tmp_path: Path) -> None:
    directory = toys.image(tmp_path)
    before = parent.Parent(directory, bundle.read(directory))
    images = np.random.default_rng(0).random((40, 1, 4, 4), dtype=np.float32)
    rows = Rows({"image": images}, np.arange(40) % 2)

    class Told:
        labels = before.manifest.labels

    found = parent.compared(before, directory, Told(), rows)
    assert (found.n, found.gained, found.lost) == (40, 0, 0)
    assert found.champion == found.challenger
    assert [(one.label, one.n) for one in found.classes] == [
        (label, 20) for label in before.manifest.labels
    ]
    shares = [one.champion * one.n for one in found.classes]
    assert sum(shares) / 40 == pytest.approx(found.champion)
