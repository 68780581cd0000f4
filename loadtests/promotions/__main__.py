"""Promote two versions of a model back and forth under load, and say what that cost:

.venv/bin/python -m loadtests.promotions --promotions 20 --output promotions.json

two versions -> capacity -> a share of it at rest -> the same during promotions -> a table, JSON, what does not hold
"""

import argparse
import signal
import sys
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from loadtests.compare.__main__ import count, interrupt
from loadtests.compare.errors import NotMeasured
from loadtests.promotions import found, measuring
from loadtests.promotions.found import Found, Options
from loadtests.promotions.measuring import MODELS

console = Console(highlight=False, soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    """The program, top to bottom. The exit code is 0 when everything holds."""
    options, output = parse(arguments)
    signal.signal(signal.SIGTERM, interrupt)
    try:
        with console.status("starting") as status:
            measured = measuring.run(options, lambda text: say(status, text))
    except NotMeasured as error:
        console.print(escape(f"not measured: {error}"))
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; the service was ended")
        return 130
    show(measured)
    if output is not None:
        output.write_bytes(msgspec.json.format(msgspec.json.encode(measured), indent=1) + b"\n")
        console.print(f"written: {output}")
    wrong = list(found.violations(measured))
    for sentence in wrong:
        console.print(escape(f"missed: {sentence}"))
    return 1 if wrong else 0


def parse(arguments: list[str] | None) -> tuple[Options, Path | None]:
    """Options, and the file for the figures."""
    default = Options()
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.promotions",
        description="What promotions under load cost those who ask, and what they leave behind.",
    )
    parser.add_argument("--model", choices=MODELS, default=default.model)
    parser.add_argument("--promotions", type=count, default=default.promotions, metavar="N")
    parser.add_argument(
        "--share", type=share, default=default.share, metavar="S", help="of the capacity, 0 to 1"
    )
    parser.add_argument(
        "--fresh",
        action="store_true",
        help="the old version is not kept: every promotion starts an engine",
    )
    parser.add_argument(
        "--pause", type=seconds, default=default.pause, metavar="S", help="after each promotion"
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="the figures as JSON")
    given = vars(parser.parse_args(arguments))
    output = given.pop("output")
    return Options(**given), output


def share(text: str) -> float:
    """An argparse type: above 0, at most 1."""
    if not 0 < (number := float(text)) <= 1:
        raise argparse.ArgumentTypeError("above 0 and at most 1")
    return number


def seconds(text: str) -> float:
    """An argparse type: 0 to an hour."""
    if not 0 <= (number := float(text)) <= 3600:
        raise argparse.ArgumentTypeError("0 to 3600")
    return number


def say(status: object, text: str) -> None:
    """What is being done: on a terminal in place, elsewhere a line for each."""
    if console.is_terminal:
        status.update(escape(text))  # type: ignore[attr-defined]
    else:
        console.print(escape(text))


def show(measured: Found) -> None:
    """The figures for a person."""
    heading, *lines = found.table(measured)
    table = Table(*heading, box=None)
    for line in lines:
        table.add_row(*line)
    console.print(table)
    swaps = measured.swaps
    kind = "each with a new engine" if measured.options.fresh else "the old version kept warm"
    console.print(
        f"{swaps.done} promotions of {measured.options.model}, {kind}: p50 {swaps.p50_ms:g} ms, p99 {swaps.p99_ms:g} ms; "
        f"p99 of requests {found.ratio(measured):.2f} times that at rest"
    )
    memory = [f"{one.resident:.1f}" for one in (measured.before, measured.start, measured.end)]
    console.print(
        f"resident memory: {memory[0]} MiB before the first promotion, {memory[1]} at the start, {memory[2]} at the end "
        f"({found.growth(measured) - 1:+.1%})"
    )
    for note in measured.notes:
        console.print(escape(note))


if __name__ == "__main__":
    sys.exit(main())
