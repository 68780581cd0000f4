"""Measure how well drift is told, with rivals in the same harness: `make drift-benchmark`, or a part of it, or all of it small:

.venv/bin/python -m loadtests.drift --parts power,causes --quick

part after part -> drift.json, drift.md and pictures -> the lines of the judgement

A part's findings replace those of the same part in the folder; what other parts found there stays.
"""

import argparse
import datetime
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from loadtests.compare import comparison, machine
from loadtests.compare.__main__ import PUBLISHED, names, shown
from loadtests.compare.contenders import ROOT
from loadtests.compare.errors import NotMeasured
from loadtests.drift import found as results
from loadtests.drift import report
from loadtests.drift.bench import FULL, QUICK, Bench, Steps
from loadtests.drift.found import Found, Part
from loadtests.drift.parts import (
    causes,
    changes,
    dependence,
    evidently,
    false_alarms,
    labels,
    merging,
    outside,
    overhead,
    pages,
    power,
)
from models.errors import DataError

FOLDER = PUBLISHED / "drift"
SCRATCH = ROOT / ".evergreen" / "drift" / "results"
console = Console(highlight=False, soft_wrap=True)


class Work(NamedTuple):
    """What measures, and about how many seconds it takes on two cores, in full and quick."""

    run: Callable[[Bench], Steps]
    full: int
    quick: int


PARTS = {
    "false-alarms": Work(false_alarms.run, 400, 5),
    "pages": Work(pages.run, 240, 5),
    "dependence": Work(dependence.run, 90, 3),
    "power": Work(power.run, 400, 30),
    "changes": Work(changes.run, 100, 5),
    "labels": Work(labels.run, 60, 3),
    "merging": Work(merging.run, 10, 3),
    "causes": Work(causes.run, 10, 3),
    "evidently": Work(evidently.run, 400, 40),
    "outside": Work(outside.run, 400, 30),
    "overhead": Work(overhead.run, 240, 30),
}


class Options(NamedTuple):
    """What was asked for."""

    parts: tuple[str, ...] = tuple(PARTS)
    quick: bool = False
    seed: int = 1


def main(arguments: list[str] | None = None) -> int:
    """The program, top to bottom. The exit code is 0 when all that was asked for was tried, whatever was found."""
    options, folder = parse(arguments)
    bench = Bench(QUICK if options.quick else FULL, options.seed)
    try:
        found = measure(bench, options, folder)
    except DataError as error:
        console.print(escape(str(error)))
        return 1
    except KeyboardInterrupt:
        console.print(f"interrupted; what was measured before is in {shown(folder)}")
        return 0
    tell(found, options)
    return 0


def parse(arguments: list[str] | None) -> tuple[Options, Path]:
    """Options, and where results go: without being told so, only a whole run may replace published ones."""
    default = Options()
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.drift",
        description="How well drift is told, with rivals in the same harness; without options all of it.",
    )
    parser.add_argument(
        "--parts", type=names(default.parts), default=default.parts, metavar="A,B",
        help=f"of {', '.join(default.parts)}",
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="each part in less than a minute")
    parser.add_argument("--seed", type=int, default=default.seed, metavar="N")
    parser.add_argument(
        "--output", type=Path, metavar="DIR",
        help="the folder for the results; those of other parts that lie there stay",
    )  # fmt: skip
    given = vars(parser.parse_args(arguments))
    folder = given.pop("output")
    options = Options(**given)
    return options, folder or (FOLDER if options == default else SCRATCH)


def measure(bench: Bench, options: Options, folder: Path) -> Found:
    """Part after part, with a bar that counts estimated seconds. Each part's findings are written when it ends."""
    weights = {
        name: PARTS[name].quick if options.quick else PARTS[name].full for name in options.parts
    }
    columns = (BarColumn(), TextColumn("{task.percentage:3.0f} %"))
    times = (TimeElapsedColumn(), TextColumn("left:"), TimeRemainingColumn())
    found = Found(machine=machine.describe(), versions=comparison.ours())
    with Progress(TextColumn("{task.description}"), *columns, *times, console=console) as progress:
        bar = progress.add_task("loading", total=sum(weights.values()))
        begun = 0
        for name, weight in weights.items():
            bench.found = begin(options)
            started, reached = time.monotonic(), 0.0
            if not console.is_terminal:
                console.print(f"  {name}: about {weight} s")
            try:
                for done, total, what in PARTS[name].run(bench):
                    reached = max(reached, min(done / total, 1.0))
                    progress.update(
                        bar, completed=begun + weight * reached, description=f"{name}: {what}"
                    )
            except NotMeasured as error:
                bench.found.notes.append(f"{name} was not measured: {error}")
            bench.found.seconds = round(time.monotonic() - started, 1)
            begun += weight
            progress.update(bar, completed=begun)
            found = publish(found, name, bench.found, folder)
    return found


def begin(options: Options) -> Part:
    """A part before it has found anything."""
    return Part(
        date=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        scale="quick" if options.quick else "full",
        seed=options.seed,
    )


def publish(found: Found, name: str, part: Part, folder: Path) -> Found:
    """Write the files: this part's findings, and those of the others that are there."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "drift.json"
    known = results.read(file.read_bytes()).parts if file.is_file() else {}
    known |= {name: part}
    found = msgspec.structs.replace(
        found, parts={name: known[name] for name in PARTS if name in known}
    )
    drawn = report.pictures(found)
    for picture, text in drawn.items():
        (folder / picture).write_text(text, encoding="utf-8")
    (folder / "drift.md").write_text(report.markdown(found, list(drawn)), encoding="utf-8")
    file.write_bytes(results.write(found))
    return found


def tell(found: Found, options: Options) -> None:
    """Print the judgement of what was measured now."""
    for name in options.parts:
        part = found.parts[name]
        for note in part.notes:
            console.print(escape(note))
        for verdict in part.verdicts:
            console.print(escape(report.line(verdict)))


if __name__ == "__main__":
    sys.exit(main())
