"""The version that a retraining goes on from: its hyper-parameters, its weights, its answers. It must not know jobs or traffic."""

from pathlib import Path
from typing import NamedTuple

import msgspec
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from models import bundle, evaluation, job
from models.bundling import WEIGHTS
from models.errors import BundleError, DataError
from models.export import answers, open_graph
from models.recipes import Examples, Hyper, Recipe


class Parent(NamedTuple):
    """A bundle's files and what they say."""

    directory: Path
    manifest: bundle.Manifest

    @property
    def weights(self) -> Path | None:
        """The file that they are in, if it was shipped."""
        path = self.directory / WEIGHTS
        return path if WEIGHTS in self.manifest.files and path.is_file() else None


def read(directory: Path, recipe: Recipe) -> Parent:
    """BundleError or DataError where it is damaged, or another model's."""
    manifest = bundle.read(directory)
    bundle.verify_files(directory, manifest)
    if manifest.name != recipe.name:
        raise DataError(f"{directory} holds {manifest.name}, the recipe makes {recipe.name}")
    if manifest.labels != recipe.labels or manifest.inputs != recipe.inputs:
        raise DataError(f"{directory} has other labels or inputs than its recipe has now")
    return Parent(directory, manifest)


def hyper_of(recipe: Recipe, parent: Parent | None, told: dict[str, job.Value]) -> Hyper:
    """The parent's hyper-parameters; with its weights those of a fine-tuning, else the recipe's in their place; `told` above all.

    A fine-tuning's are never inherited: the next one has its own. DataError names what is none.
    """
    chosen = msgspec.structs.asdict(recipe.hyper)
    first = {name: chosen[name] for name in recipe.fine_tuning}
    if parent is not None and parent.manifest.training is not None:
        chosen |= {k: v for k, v in parent.manifest.training.parameters.items() if k in chosen}
        chosen |= first if parent.weights is None else recipe.fine_tuning
    try:
        return msgspec.convert(chosen | told, type(recipe.hyper))
    except msgspec.ValidationError as error:
        raise DataError(f"hyper-parameters of {recipe.name}: {error}") from error


def network_of(recipe: Recipe, hyper: Hyper, weights: Path | None) -> nn.Module:
    """The recipe's network; with the weights in that file, where there is one."""
    network = recipe.network(hyper)
    if weights is not None:
        try:
            network.load_state_dict(load_file(weights))
        except (RuntimeError, SafetensorError) as error:
            raise BundleError(f"{weights} does not fit the recipe's network: {error}") from error
    return network


def compared(parent: Parent, directory: Path, recipe: Recipe, rows: Examples) -> job.Regression:
    """What the parent's file and the one in `directory` make of the same rows: of both the first that is there, fp32 where it is."""
    challenger = bundle.read(directory)
    before, labels = answers(open_graph(file_of(parent.directory, parent.manifest)), rows)
    after, _ = answers(open_graph(file_of(directory, challenger)), rows)
    old, new = before.argmax(1) == labels, after.argmax(1) == labels
    classes = []
    for number, label in enumerate(recipe.labels):
        mask = labels == number
        if n := int(mask.sum()):
            shares = float(old[mask].mean()), float(new[mask].mean())
            classes.append(job.ClassScore(label, n, *shares))
    return job.Regression(
        n=len(labels),
        champion=evaluation.accuracy(labels, before).value,
        challenger=evaluation.accuracy(labels, after).value,
        gained=int((new & ~old).sum()),
        lost=int((old & ~new).sum()),
        classes=tuple(classes),
    )


def file_of(directory: Path, manifest: bundle.Manifest) -> Path:
    """The first variant whose file is there."""
    present = [directory / one.file for one in manifest.variants if not one.absent]
    if not present:
        raise BundleError(f"{directory} holds no variant")
    return present[0]
