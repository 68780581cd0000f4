"""Measure Evergreen beside other servers: `make compare`, or a short run of a part of it:

.venv/bin/python -m loadtests.compare --peers mosec --models fashion-cnn --seconds 3 --rounds 1

plan -> environments and files -> rounds -> compare.json, compare.md, compare.svg -> the lines of the judgement
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from loadtests.compare import load, plan, report, results, verdicts
from loadtests.compare.comparison import Comparison
from loadtests.compare.contenders import ROOT
from loadtests.compare.environments import SCRATCH
from loadtests.compare.plan import Options

PUBLISHED = ROOT / "loadtests" / "results"
console = Console(highlight=False, soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    """The program, top to bottom. The exit code is 0 when everything that was asked for was tried."""
    options, folder = parse(arguments)
    if why := load.available():
        console.print(escape(why))
        return 1
    signal.signal(signal.SIGTERM, interrupt)
    announce(options, folder)
    comparison = Comparison(options, lambda text: console.print(f"  {escape(text)}"))
    try:
        comparison.prepare()
        measured(comparison)
    except KeyboardInterrupt:
        console.print("\ninterrupted; every server was ended")
        publish(comparison, SCRATCH / "interrupted")
        return 130
    publish(comparison, folder)
    return 0


def parse(arguments: list[str] | None) -> tuple[Options, Path]:
    """Options, and where results go: only a whole run may replace the published ones."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.compare",
        description="Measure Evergreen beside other servers; without options the whole of it.",
    )
    default = Options()
    for option, known in (
        ("models", plan.MODELS),
        ("variants", plan.VARIANTS),
        ("peers", plan.PEER_NAMES),
    ):
        parser.add_argument(
            f"--{option}",
            type=names(known),
            default=known,
            metavar="A,B",
            help=f"of {', '.join(known)}; all without it",
        )
    parser.add_argument(
        "--concurrencies",
        type=counts,
        default=default.concurrencies,
        metavar="N,N",
        help="requests under way at a time",
    )
    parser.add_argument("--seconds", type=count, metavar="N", help="of each measurement")
    parser.add_argument("--rounds", type=count, default=default.rounds, metavar="N")
    parser.add_argument(
        "--full", action="store_true", help="every file and setting at every concurrency"
    )
    parser.add_argument("--to", type=Path, metavar="DIR", help="the folder for the results")
    given = vars(parser.parse_args(arguments))
    folder = given.pop("to")
    options = Options(**given)
    whole = options._replace(full=False) == default
    return options, folder or (PUBLISHED if whole else SCRATCH / "results")


def names(known: tuple[str, ...]) -> Callable[[str], tuple[str, ...]]:
    """An argparse type: comma-separated names, each one of `known`."""

    def read(text: str) -> tuple[str, ...]:
        chosen = tuple(name.strip() for name in text.split(",") if name.strip())
        if unknown := [name for name in chosen if name not in known]:
            raise argparse.ArgumentTypeError(f"no {', '.join(unknown)}; known: {', '.join(known)}")
        return chosen

    return read


def counts(text: str) -> tuple[int, ...]:
    """Comma-separated numbers from 1 on."""
    return tuple(count(one) for one in text.split(","))


def count(text: str) -> int:
    """A number from 1 on; argparse says so where it is none."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def interrupt(*_: object) -> None:
    """SIGTERM ends the run as Ctrl-C does: with every server ended."""
    raise KeyboardInterrupt


def announce(options: Options, folder: Path) -> None:
    """What is going to happen, and how long it takes."""
    groups = plan.setups(options)
    cells = sum(len(setup.concurrencies) for group in groups for setup in group)
    console.print(
        f"{options.rounds} rounds of {sum(map(len, groups))} starts and {cells} measurements: "
        f"about {plan.estimate(options) / 60:.0f} minutes, and some more where environments or files are still to be made.\n"
        f"models {', '.join(options.models)}; beside Evergreen: {', '.join(options.peers) or 'nobody'}; "
        f"results go to {shown(folder)}"
    )


def measured(comparison: Comparison) -> None:
    """All rounds, with a bar that counts estimated seconds."""
    begun = time.monotonic()
    total = plan.estimate(comparison.options)
    columns = (BarColumn(), TextColumn("{task.percentage:3.0f} %"), TimeElapsedColumn())
    with Progress(TextColumn("{task.description}"), *columns, console=console) as progress:
        bar = progress.add_task("measuring", total=total)
        for number, setup in comparison.steps():
            batching = "" if setup.batching else " without batching"
            what = f"round {number + 1}: {setup.model} {setup.variant} on {setup.server}{batching}"
            progress.update(bar, description=what)
            if not console.is_terminal:
                console.print(f"  {time.monotonic() - begun:5.0f} s  {what}")
            comparison.take(number, setup)
            progress.advance(bar, plan.duration(comparison.options, setup))
        progress.update(bar, completed=total, description="measured")


def publish(comparison: Comparison, folder: Path) -> None:
    """Write the three files and print the judgement."""
    found = comparison.results
    if not found.measurements:
        console.print("nothing was measured")
        return
    found.verdicts = verdicts.judged(found)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "compare.json").write_bytes(results.write(found))
    (folder / "compare.md").write_text(report.markdown(found), encoding="utf-8")
    (folder / "compare.svg").write_text(report.picture(found), encoding="utf-8")
    console.print(f"written: compare.json, compare.md and compare.svg in {shown(folder)}\n")
    for verdict in found.verdicts:
        console.print(escape(verdicts.line(verdict)))


def shown(folder: Path) -> str:
    """A folder as a person in this project names it."""
    resolved = folder.resolve()
    return str(resolved.relative_to(ROOT)) if resolved.is_relative_to(ROOT) else str(folder)


if __name__ == "__main__":
    sys.exit(main())
