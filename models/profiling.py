"""Give a bundle its reference profile: `python -m models.profiling activity-lstm`. models.train does it for every new one.

    held-out rows -> the exported graph's answers -> profile.json
    more of them, where the hold-out is small: folds -> their networks' answers -> the same profile

int8 answers a little differently, which windows of 500 rows tell: where it is shipped beside fp32, it has a profile of its own. Not where
folds are needed: their networks have no int8, and so small a reference admits no such windows.
"""

import argparse
import datetime
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import torch
from tqdm import tqdm

from models import bundle, profile, report, training
from models.errors import BundleError, EvergreenError
from models.export import Graph, open_graph
from models.recipes import Examples, Hyper, Recipe, Splits, recipes

REPOSITORY = Path(__file__).parent / "repository"
BATCH_ROWS = 64
OWN = "int8"
"""The variant whose answers differ enough to need a profile of its own."""


class Rows(msgspec.Struct):
    """What a profile is made from: the rows that the model itself holds out, and those of folds, which other networks have answered, or nobody."""

    held_out: Examples
    folds: list[profile.Batch]
    source: str


def main(arguments: list[str] | None = None) -> None:
    """The program, top to bottom."""
    known = recipes()
    parser = argparse.ArgumentParser(prog="python -m models.profiling", description=__doc__)
    parser.add_argument("model", choices=known)
    parser.add_argument("--version", type=int, default=1)
    parser.add_argument("--repository", type=Path, default=REPOSITORY)
    options = parser.parse_args(arguments)
    recipe = known[options.model]
    directory = options.repository / recipe.name / str(options.version)
    manifest = bundle.read(directory)
    bundle.verify(directory, manifest)
    if manifest.training is None:
        raise BundleError(f"{directory} does not say how it was trained")
    hyper = msgspec.convert(manifest.training.parameters, type(recipe.hyper))
    splits = recipe.splits(hyper, manifest.training.seed)
    if splits.data_sha256 != manifest.training.data_sha256:
        raise BundleError(f"{directory} was trained from other data than there are now")
    rows = gathered(recipe, hyper, splits, manifest.training.seed)
    made = build(manifest, directory, rows)
    card = directory / "card.md"
    card.write_text(report.with_reference(card.read_text(), made))
    bundle.write(directory, manifest)


def gathered(
    recipe: Recipe, hyper: Hyper, splits: Splits, seed: int, rows: int | None = None
) -> Rows:
    """Every row that may be in the reference: none that the network which answers it has learned from."""
    held_out = splits.tests["accuracy"]
    folds = recipe.folds(hyper, rows)
    found: list[profile.Batch] = []
    for number, part in enumerate(folds):
        tqdm.write(f"fold {number + 1} of {len(folds)}, for the reference")
        fit = training.fit(lambda: recipe.network(hyper), part, hyper, seed)
        found += answered(fit.network, part.tests["accuracy"])
    return Rows(held_out, found, source(recipe, held_out, found))


def held_out(recipe: Recipe, splits: Splits) -> Rows:
    """The rows that the model itself holds out, and no others."""
    rows = splits.tests["accuracy"]
    return Rows(rows, [], source(recipe, rows, []))


def source(recipe: Recipe, held_out: Examples, folds: list[profile.Batch]) -> str:
    """Which rows they are, in a sentence."""
    own = f"the {len(held_out):,} held-out {recipe.unit}"
    if not folds:
        return own
    more = sum(len(batch.labels) for batch in folds if batch.labels is not None)
    return (
        f"{own}, and {more:,} out-of-fold ones, answered by networks that were trained in the same way without them "
        f"(no signals of the embedding: theirs cannot be compared)"
    )


@torch.no_grad()
def answered(network: torch.nn.Module, examples: Examples) -> Iterator[profile.Batch]:
    """Rows with the answers of a network that was never exported; its embedding means nothing to another's."""
    for inputs, labels in examples.batches(BATCH_ROWS):
        logits, _ = network(**training.tensors(inputs, torch.device("cpu")))
        outputs = {"logits": logits.numpy(), "probabilities": logits.softmax(-1).numpy()}
        yield profile.Batch(inputs, outputs, labels)


def build(manifest: bundle.Manifest, directory: Path, rows: Rows) -> profile.Profile:
    """Write the profile of each variant that needs one; the first of them is returned."""
    shipped = [one for one in manifest.variants if (directory / one.file).is_file()]
    own = [one for one in shipped[1:] if one.name == OWN and not rows.folds]
    variants = [shipped[0], *own]
    assert manifest.training is not None  # noqa: S101 - a recipe's version has been trained
    profiles = []
    for variant in variants:
        about = profile.About(
            source=rows.source,
            data_sha256=manifest.training.data_sha256,
            created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            seed=manifest.training.seed,
            variant=variant.name,
        )
        batches = [*run(open_graph(directory / variant.file), rows), *rows.folds]
        made = profile.build(
            manifest, directory, batches, about, shown(f"reference, {variant.name}")
        )
        profile.write(directory, made, None if variant is variants[0] else variant.name)
        profiles.append(made)
    return profiles[0]


def shown(what: str) -> Callable[[int, int], None]:
    """A progress bar that closes at the end."""
    bar = tqdm(desc=what, unit=" windows")

    def progress(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)
        if done == total:
            bar.close()

    return progress


def run(graph: Graph, rows: Rows) -> Iterator[profile.Batch]:
    """The model's own held-out rows with its answers. A batch with a label below 0, which nobody has told, has none."""
    for inputs, labels in rows.held_out.batches(BATCH_ROWS):
        told = labels if (labels >= 0).all() else None
        yield profile.Batch(inputs, graph.run(inputs), told)


if __name__ == "__main__":
    try:
        main()
    except EvergreenError as error:
        sys.exit(str(error))
