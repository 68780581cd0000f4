"""Measure what the front end and the service cost beside the model, or a short run of a part of it:

.venv/bin/python -m loadtests.overhead --parts front-end --seconds 1 --rounds 1

rows and constants -> rounds -> overhead.json, overhead.md -> the lines of the judgement
"""

import argparse
import signal
import sys
import time
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from loadtests.compare import load, verdicts
from loadtests.compare.__main__ import PUBLISHED, count, interrupt, names, shown
from loadtests.overhead import report, run
from loadtests.overhead.run import SCRATCH, Options, Run

console = Console(highlight=False, soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    """The program, top to bottom."""
    options, folder = parse(arguments)
    if why := load.available():
        console.print(escape(why))
        return 1
    signal.signal(signal.SIGTERM, interrupt)
    console.print("rows, and what ONNX Runtime says to them")
    whole = Run(options)
    try:
        whole.prepare()
        console.print(f"about {whole.estimate() / 60:.0f} minutes; results go to {shown(folder)}")
        measured(whole)
    except KeyboardInterrupt:
        console.print("\ninterrupted; every server was ended")
        publish(whole, SCRATCH / "interrupted")
        return 130
    publish(whole, folder)
    return 0


def parse(arguments: list[str] | None) -> tuple[Options, Path]:
    """Options, and where results go: only a whole run may replace the published ones."""
    default = Options()
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.overhead",
        description="What the front end and the service cost beside the model.",
    )
    parser.add_argument(
        "--seconds", type=count, default=default.seconds, metavar="N", help="of each measurement"
    )
    parser.add_argument("--rounds", type=count, default=default.rounds, metavar="N")
    parser.add_argument(
        "--parts",
        type=names(run.PARTS),
        default=default.parts,
        metavar="A,B",
        help=f"of {', '.join(run.PARTS)}; all but the last without it",
    )
    parser.add_argument("--to", type=Path, metavar="DIR", help="the folder for the results")
    given = vars(parser.parse_args(arguments))
    folder = given.pop("to")
    options = Options(**given)
    return options, folder or (PUBLISHED if options == default else SCRATCH)


def measured(whole: Run) -> None:
    """All rounds, with a bar that counts estimated seconds."""
    begun = time.monotonic()
    total = whole.estimate()
    columns = (BarColumn(), TextColumn("{task.percentage:3.0f} %"), TimeElapsedColumn())
    with Progress(TextColumn("{task.description}"), *columns, console=console) as progress:
        bar = progress.add_task("measuring", total=total)
        for number, step in whole.order():
            what = f"round {number + 1}, {step.what}"
            progress.update(bar, description=what)
            if not console.is_terminal:
                console.print(f"  {time.monotonic() - begun:5.0f} s  {what}")
            whole.take(number, step)
            progress.advance(bar, run.duration(whole.options, step))
        progress.update(bar, completed=total, description="measured")


def publish(whole: Run, folder: Path) -> None:
    """Write both files and print the judgement."""
    found = run.judge(whole)
    if not found.samples:
        console.print("nothing was measured")
        return
    folder.mkdir(parents=True, exist_ok=True)
    text = msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n"
    (folder / "overhead.json").write_bytes(text)
    (folder / "overhead.md").write_text(report.markdown(found), encoding="utf-8")
    console.print(f"written: overhead.json and overhead.md in {shown(folder)}\n")
    for note in found.notes:
        console.print(escape(note))
    for verdict in found.verdicts:
        console.print(escape(verdicts.line(verdict)))
    for one in found.figures:
        console.print(escape(f"{'':8} {one.what}: {one.value:.2f}{one.unit}"))


if __name__ == "__main__":
    sys.exit(main())
