"""Train a model from its data to a bundle: `python -m models.train fashion-cnn [--epochs 30 ...]`, or a recipe of one's own: `... path/to/recipe.py`.

    data -> fit -> export, variants -> evaluate -> profile -> report -> publish

`--job DIRECTORY` retrains as the request there asks (models.fine_tuning). Under `torchrun` several processes share the work.
"""

import argparse
import os
import shutil
import sys
from pathlib import Path

import msgspec

from models import (
    bundle,
    bundling,
    distributed,
    evaluation,
    fine_tuning,
    profile,
    profiling,
    training,
)
from models.errors import EvergreenError
from models.recipes import Hyper, Recipe, from_file, recipes

REPOSITORY = Path(__file__).parent / "repository"
QUICK_ROWS = 320


def main(arguments: list[str] | None = None) -> None:
    """The program, top to bottom."""
    jobs = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    jobs.add_argument("--job", type=Path)
    asked, given = jobs.parse_known_args(arguments)
    if asked.job is not None:
        sys.exit(fine_tuning.run(asked.job))
    known = known_to(given)
    options = parse(known, given)
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
    with distributed.joined():
        fit = training.fit(
            lambda: recipe.network(hyper), splits, hyper, options.seed, run, resume=options.resume
        )
    if not distributed.leads():
        return
    print(f"trained on {fit.device} in {fit.seconds:.0f} s")
    print(evaluation.verdict(fit.history, fit.best))

    made = bundling.Made(
        recipe=recipe,
        version=options.version,
        splits=splits,
        fit=fit,
        record=bundling.record(splits, hyper, fit, options.seed),
        shipped=options.ship.split(",") if options.ship else None,
    )
    finish(made, hyper, options)
    (run / training.CHECKPOINT).unlink(missing_ok=True)


def finish(made: bundling.Made, hyper: Hyper, options: argparse.Namespace) -> None:
    """Make the bundle beside its place, then put it there."""
    target = options.out / made.recipe.name / str(made.version)
    workshop = target.with_name(f".{target.name}.{os.getpid()}")
    workshop.mkdir(parents=True)

    def reference(manifest: bundle.Manifest, folder: Path) -> profile.Profile:
        if options.no_folds:
            rows = profiling.held_out(made.recipe, made.splits)
        else:
            rows = profiling.gathered(made.recipe, hyper, made.splits, options.seed, quick(options))
        return profiling.build(manifest, folder, rows)

    try:
        manifest = bundling.build(made, workshop, reference)
        publish(workshop, target, manifest)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)


def known_to(given: list[str]) -> dict[str, Recipe]:
    """The recipes that can be named here: this project's, or the file that is named."""
    files = [one for one in given if one.endswith(".py") and not one.startswith("-")]
    return {files[0]: from_file(Path(files[0]))} if files else recipes()


def parse(known: dict[str, Recipe], arguments: list[str]) -> argparse.Namespace:
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
    common.add_argument(
        "--no-folds",
        action="store_true",
        help="a reference for drift from the held-out rows alone: no network is trained for it",
    )
    parser = argparse.ArgumentParser(
        prog="python -m models.train",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
