"""Interrupt the closed loop a hundred times, at any step, and check what must always hold:

.venv/bin/python -m loadtests.interruptions --count 100 --seed 1

a service of its own -> retrainings one after the other -> kills, a full disk, a registry or ledger that is away -> JSON and a page
"""

import argparse
import datetime
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from loadtests.compare.__main__ import count, interrupt
from loadtests.compare.machine import describe
from loadtests.interruptions import found
from loadtests.interruptions.asking import Asker
from loadtests.interruptions.course import Course
from loadtests.interruptions.disk import disk
from loadtests.interruptions.found import Found
from loadtests.interruptions.world import World
from models.errors import EvergreenError

RESULTS = Path(__file__).parents[1] / "results" / "interruptions"
JSON, PAGE, LOG = "interruptions.json", "interruptions.md", "evergreen.log"

console = Console(highlight=False, soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    """The program, top to bottom. The exit code is 0 when everything held."""
    options = parse(arguments)
    signal.signal(signal.SIGTERM, interrupt)
    options.output.mkdir(parents=True, exist_ok=True)
    result = begun(options)
    try:
        with tempfile.TemporaryDirectory(prefix="evergreen-") as folder:
            interrupted(options, result, Path(folder))
    except KeyboardInterrupt:
        console.print("interrupted; the service was ended")
    except EvergreenError as error:
        result.others.append(str(error))
    written(result, options.output)
    wrong = list(found.violations(result))
    for sentence in wrong:
        console.print(escape(f"violated: {sentence}"))
    console.print(
        f"{len(result.interruptions)} interruptions of {len(result.jobs)} jobs, {len(wrong)} violations; written: {options.output}"
    )
    return 1 if wrong or len(result.interruptions) < options.count else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """How often, and which."""
    parser = argparse.ArgumentParser(
        prog="python -m loadtests.interruptions",
        description="Kill -9 at any step, a full disk, a registry or a ledger that is away: is the loop whole afterwards?",
    )
    parser.add_argument("--count", type=count, default=100, metavar="N", help="in all [100]")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="what comes when [1]")
    parser.add_argument(
        "--from",
        dest="first",
        type=int,
        default=0,
        metavar="N",
        help="go on with a run that was ended: its results are kept, and this interruption is the next",
    )
    parser.add_argument("--output", type=Path, default=RESULTS, metavar="DIR", help=str(RESULTS))
    return parser.parse_args(arguments)


def begun(options: argparse.Namespace) -> Found:
    """Nothing yet, or what an earlier run has found."""
    file = options.output / JSON
    if options.first and file.is_file():
        return msgspec.json.decode(file.read_bytes(), type=Found)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return Found(today, describe(), options.seed, "")


def interrupted(options: argparse.Namespace, result: Found, folder: Path) -> None:
    """All of it, with a bar."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    start = time.monotonic()
    with (
        disk(folder / "disk") as own,
        Progress(TextColumn("{task.description}"), *columns, console=console) as progress,
    ):
        result.disk = own.told
        bar = progress.add_task("training version 1", total=options.count, completed=options.first)

        def say(text: str, done: int | None = None) -> None:
            progress.update(bar, description=text, completed=done)
            if not console.is_terminal:
                console.print(f"{time.monotonic() - start:6.0f} s  {escape(text)}")

        world = World(folder, own)
        try:
            world.train()
            world.start()
            world.wait_ready()
            hit(world, options, result, say)
        finally:
            world.end()
            if any(found.violations(result)):  # what the service said, for whoever looks into them
                shutil.copyfile(folder / "log", options.output / LOG)


def hit(
    world: World, options: argparse.Namespace, result: Found, say: Callable[[str, int], None]
) -> None:
    """One interruption after the other; results are written after each."""
    asker = Asker(world.url, options.seed)
    course = Course(world, asker, options.seed, lambda text: say(text, len(result.interruptions)))
    before, start = msgspec.structs.replace(result), time.monotonic()

    def take() -> None:
        result.jobs, result.others = before.jobs + course.ended, before.others + course.others
        result.labels = before.labels + len(asker.kept)
        result.answered = before.answered + asker.answered
        result.unanswered = before.unanswered + asker.unanswered
        result.seconds = round(before.seconds + time.monotonic() - start, 1)
        written(result, options.output)

    try:
        with course.watching(), asker.asking():
            for one in course.run(options.first, options.count - options.first):
                result.interruptions.append(one)
                take()
                for text in one.violations:
                    console.print(escape(f"violated: {one.number} {one.fault}: {text}"))
    finally:
        take()


def written(result: Found, output: Path) -> None:
    """Both files."""
    data = msgspec.json.format(msgspec.json.encode(result), indent=1)
    (output / JSON).write_bytes(data + b"\n")
    (output / PAGE).write_text(found.markdown(result), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
