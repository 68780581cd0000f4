"""A fitted network as the files of a bundle: graph and variants, figures, profile, card, and the manifest last. It must not know what was asked for.

network -> export -> variants -> evaluate -> profile -> card -> manifest
"""
# ruff: noqa: T201 - a part of a program: whoever runs it sees what comes of it

import datetime
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
from safetensors.torch import save_file

from models import bundle, evaluation, job, profile, report, training, variants
from models.errors import InputError
from models.export import Graph, answers, export, outputs_of
from models.recipes import Hyper, Recipe, Splits

WEIGHTS = "weights.safetensors"

Reference = Callable[[bundle.Manifest, Path], profile.Profile]
"""Makes the profile of a version whose files lie in a folder. InputError where there are too few rows."""


class Made(msgspec.Struct):
    """What goes into a bundle. `shipped`: the variants to keep, the others and the weights being declared absent; None keeps all."""

    recipe: Recipe
    version: int
    splits: Splits
    fit: training.Fitted
    record: bundle.Training
    shipped: list[str] | None = None


def build(
    made: Made, folder: Path, reference: Reference, tell: job.Tell = job.nothing
) -> bundle.Manifest:
    """Write every file of the bundle into `folder`, the manifest last."""
    recipe, splits = made.recipe, made.splits
    tell("export")
    graph = export(made.fit.network, recipe, folder / "model.fp32.onnx")
    built = variants.build(graph, recipe, splits)
    inputs = next(iter(recipe.samples().batches(16)))[0]
    bundle.write_samples(folder, inputs, graph.run(inputs))
    if tokenizer := getattr(recipe, "tokenizer", None):
        shutil.copyfile(tokenizer, folder / "tokenizer.json")
    if made.shipped is None:
        save(made.fit, folder / WEIGHTS)
    tell("evaluate")
    metrics, figures, calibration = evaluate(recipe, splits, graph, folder)
    for name, metric in metrics.items():
        print(f"{name}: {metric.value:.2%} ({metric.low:.2%} to {metric.high:.2%}, n {metric.n:,})")
    manifest = bundle.Manifest(
        name=recipe.name,
        version=made.version,
        description=recipe.description,
        task=recipe.task,
        labels=recipe.labels,
        inputs=recipe.inputs,
        outputs=outputs_of(recipe),
        variants=tuple(ship(one, made.shipped, folder) for one in built),
        metrics=metrics,
        training=made.record,
        files={},
        padding=recipe.padding,
    )
    report.learning_curve(made.fit, folder / "training.png")
    card = report.card(recipe, manifest, made.fit, figures, calibration)
    tell("profile")
    try:
        card = report.with_reference(card, reference(manifest, folder))
    except InputError as error:
        print(f"no reference for drift: {error}")
    (folder / "card.md").write_text(card)
    tell("bundle")
    return bundle.write(folder, manifest)


def save(fit: training.Fitted, path: Path) -> None:
    """The network's weights, for a later fine-tuning."""
    save_file({name: value.contiguous() for name, value in fit.network.state_dict().items()}, path)
    path.chmod(0o644)  # safetensors writes for its owner alone


def evaluate(
    recipe: Recipe, splits: Splits, graph: Graph, folder: Path
) -> tuple[dict[str, bundle.Metric], list[report.ClassRow], float]:
    """(accuracies on every test set, per-class figures and calibration error on the main one), from the exported graph."""
    found = {name: answers(graph, rows) for name, rows in splits.tests.items()}
    metrics = {
        name: bundle.Metric(*evaluation.accuracy(labels, probabilities))
        for name, (probabilities, labels) in found.items()
    }
    probabilities, labels = found["accuracy"]
    counts = evaluation.confusion(labels, probabilities.argmax(1), len(recipe.labels))
    report.confusion_matrix(counts, recipe.labels, folder / "confusion.png")
    rows = list(zip(recipe.labels, evaluation.per_class(counts), strict=True))
    return metrics, rows, evaluation.calibration_error(labels, probabilities)


def ship(variant: bundle.Variant, shipped: list[str] | None, folder: Path) -> bundle.Variant:
    """The variant as it is, or without its file and declared absent."""
    if shipped is None or variant.name in shipped:
        return variant
    (folder / variant.file).unlink()
    return msgspec.structs.replace(variant, absent=True)


def record(splits: Splits, hyper: Hyper, fit: training.Fitted, seed: int) -> bundle.Training:
    """Enough to repeat the run."""
    return bundle.Training(
        data_sha256=splits.data_sha256,
        parameters=msgspec.structs.asdict(hyper),
        seed=seed,
        duration_s=round(fit.seconds, 1),
        device=fit.device,
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        code_revision=revision(),
    )


def revision() -> str | None:
    """The commit that this code is, where git can tell."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"],  # noqa: S607 - wherever this machine has it
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None
