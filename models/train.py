"""Train a model from its data to a bundle: `python -m models.train fashion-cnn [--epochs 30 ...]`.

data -> fit -> evaluate -> export -> variants -> profile -> report -> publish
"""

import argparse
import datetime
import os
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
from safetensors.torch import save_file

from models import bundle, evaluation, profiling, report, training, variants
from models.errors import EvergreenError, InputError
from models.export import Graph, answers, export, outputs_of
from models.recipes import Hyper, Recipe, Splits, recipes

REPOSITORY = Path(__file__).parent / "repository"
QUICK_ROWS = 320


def main(arguments: list[str] | None = None) -> None:
    """The program, top to bottom."""
    known = recipes()
    options = parse(known, arguments)
    recipe = known[options.model]
    hyper = chosen(recipe.hyper, options)
    print(
        f"{recipe.name}: {', '.join(f'{k} {v}' for k, v in msgspec.structs.asdict(hyper).items())}"
    )

    splits = recipe.splits(hyper, options.seed, quick(options))
    tests = ", ".join(f"{len(rows):,} ({name})" for name, rows in splits.tests.items())
    print(
        f"{len(splits.train):,} rows to train on, {len(splits.validation):,} to validate, held out: {tests}"
    )

    run = options.runs / recipe.name
    run.mkdir(parents=True, exist_ok=True)
    fit = training.fit(
        lambda: recipe.network(hyper), splits, hyper, options.seed, run, resume=options.resume
    )
    print(f"trained on {fit.device} in {fit.seconds:.0f} s")
    print(evaluation.verdict(fit.history, fit.best))

    target = options.out / recipe.name / str(options.version)
    workshop = target.with_name(f".{target.name}.{os.getpid()}")
    workshop.mkdir(parents=True)
    try:
        manifest = build(recipe, hyper, splits, fit, options, workshop)
        publish(workshop, target, manifest)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    (run / training.CHECKPOINT).unlink(missing_ok=True)


def parse(known: dict[str, Recipe], arguments: list[str] | None) -> argparse.Namespace:
    """Options; every hyper-parameter of the recipe is one."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--seed", type=int, default=1)
    common.add_argument("--out", type=Path, default=REPOSITORY, help="the repository to publish to")
    common.add_argument("--version", type=int, default=1)
    common.add_argument(
        "--runs", type=Path, default=Path("runs"), help="where a run keeps its checkpoint"
    )
    common.add_argument(
        "--resume",
        action="store_true",
        help="go on from the checkpoint of a run that was interrupted",
    )
    common.add_argument(
        "--ship",
        help="variants to keep, comma-separated; the others, and the weights, are declared absent",
    )
    common.add_argument(
        "--quick",
        action="store_true",
        help=f"{QUICK_ROWS} rows of each part: shows that it runs, not how good it is",
    )
    parser = argparse.ArgumentParser(
        prog="python -m models.train", description=__doc__.splitlines()[0] if __doc__ else None
    )
    models = parser.add_subparsers(dest="model", required=True)
    for name, recipe in known.items():
        sub = models.add_parser(name, parents=[common], help=recipe.description)
        for field in msgspec.structs.fields(type(recipe.hyper)):
            default = getattr(recipe.hyper, field.name)
            sub.add_argument(
                f"--{field.name.replace('_', '-')}",
                type=type(default),
                default=None,
                metavar=str(default),
            )
    return parser.parse_args(arguments)


def chosen(hyper: Hyper, options: argparse.Namespace) -> Hyper:
    """The recipe's hyper-parameters with what the command line overrides, validated."""
    given = {
        f: getattr(options, f)
        for f in msgspec.structs.asdict(hyper)
        if getattr(options, f) is not None
    }
    return msgspec.convert(msgspec.structs.asdict(hyper) | given, type(hyper))


def quick(options: argparse.Namespace) -> int | None:
    """The most rows of each part, if that is limited."""
    return QUICK_ROWS if options.quick else None


def build(
    recipe: Recipe,
    hyper: Hyper,
    splits: Splits,
    fit: training.Fitted,
    options: argparse.Namespace,
    folder: Path,
) -> bundle.Manifest:
    """Every file of the bundle in `folder`, the manifest last."""
    graph = export(fit.network, recipe, folder / "model.fp32.onnx")
    metrics, figures, calibration = evaluate(recipe, splits, graph, folder)
    for name, metric in metrics.items():
        print(f"{name}: {metric.value:.2%} ({metric.low:.2%} to {metric.high:.2%}, n {metric.n:,})")
    built = variants.build(graph, recipe, splits)

    inputs = next(iter(recipe.samples().batches(16)))[0]
    bundle.write_samples(folder, inputs, graph.run(inputs))
    if tokenizer := getattr(recipe, "tokenizer", None):
        shutil.copyfile(tokenizer, folder / "tokenizer.json")
    shipped = options.ship.split(",") if options.ship else None
    if shipped is None:
        save_file(
            {name: value.contiguous() for name, value in fit.network.state_dict().items()},
            folder / "weights.safetensors",
        )
        (folder / "weights.safetensors").chmod(0o644)  # safetensors writes for its owner alone
    manifest = bundle.Manifest(
        name=recipe.name,
        version=options.version,
        description=recipe.description,
        task=recipe.task,
        labels=recipe.labels,
        inputs=recipe.inputs,
        outputs=outputs_of(recipe),
        variants=tuple(ship(one, shipped, folder) for one in built),
        metrics=metrics,
        training=record(splits, hyper, fit, options.seed),
        files={},
        padding=recipe.padding,
    )
    report.learning_curve(fit, folder / "training.png")
    card = report.card(recipe, manifest, fit, figures, calibration)
    try:
        rows = profiling.gathered(recipe, hyper, splits, options.seed, quick(options))
        card = report.with_reference(card, profiling.build(manifest, folder, rows))
    except InputError as error:
        print(f"no reference for drift: {error}")
    (folder / "card.md").write_text(card)
    return bundle.write(folder, manifest)


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
            ["git", "rev-parse", "HEAD"],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError:
        return None
    return done.stdout.strip() or None


def publish(workshop: Path, target: Path, manifest: bundle.Manifest) -> None:
    """Put the finished bundle in its place, and say what differs from the one that it replaces."""
    if (target / bundle.MANIFEST).is_file():
        compare(bundle.read(target), manifest)
        shutil.rmtree(target)
    workshop.rename(target)
    size = sum(path.stat().st_size for path in target.iterdir())
    print(f"published {target} ({size / 1e6:.1f} MB)")


def compare(old: bundle.Manifest, new: bundle.Manifest) -> None:
    """Every accuracy that is not what the replaced bundle said."""
    for name, metric in new.metrics.items():
        before = old.metrics.get(name)
        if before is not None and before.value != metric.value:
            inside = "within" if before.low <= metric.value <= before.high else "outside"
            print(
                f"{name} was {before.value:.2%}, now {metric.value:.2%}: {inside} the old interval"
            )


if __name__ == "__main__":
    try:
        main()
    except EvergreenError as error:
        sys.exit(str(error))
