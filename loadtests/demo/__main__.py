"""Watch the loop close, on real data, in under five minutes:

python -m loadtests.demo activity-lstm --output demo
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from loadtests.demo import drawing, found, scenes, story
from loadtests.demo.champion import trained_without
from loadtests.demo.found import Found, Moment
from loadtests.demo.scenes import Scene
from loadtests.demo.service import LOG
from models.datasets import watch
from models.errors import EvergreenError
from models.registry import Registry

REPOSITORY = Path(__file__).parents[2] / "models" / "repository"
MODELS = ("activity-lstm", "fashion-cnn")

console = Console(highlight=False, soft_wrap=True)


def main(arguments: list[str] | None = None) -> int:
    """The program, top to bottom. The exit code is 0 when everything that was promised was kept."""
    options = parse(arguments)
    try:
        with scratch(options.output) as folder:
            scene, repository = prepared(options, folder)
            console.print("The settings of the service that is shown:\n")
            console.print(escape(story.SETTINGS.format(model=scene.model)))
            shown = asyncio.run(story.show(scene, repository, folder, say))
    except EvergreenError as error:
        console.print(f"[red]not shown: {escape(str(error))}[/]")
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; the service was ended")
        return 130
    conclude(shown, options.output)
    wrong = list(found.violations(shown))
    for sentence in wrong:
        console.print(f"[red]missed: {escape(sentence)}[/]")
    return 1 if wrong else 0


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """What is to be shown."""
    parser = argparse.ArgumentParser(
        prog="evergreen demo",
        description="Serve a model, change its traffic, and watch how it is kept fresh: drift, labels, a retraining by itself, a promotion, "
        "and a bad version that is taken back.",
    )
    parser.add_argument("model", nargs="?", choices=MODELS, default=MODELS[0])
    people = ",".join(map(str, watch.UNSEEN))
    parser.add_argument(
        "--unseen",
        type=numbers,
        default=watch.UNSEEN,
        metavar="1,2,3",
        help=f"activity-lstm: people who come new [{people}]; with others a champion is trained without them first",
    )
    parser.add_argument(
        "--light", type=share, default=0.4, help="fashion-cnn: what is left of the light [0.4]"
    )
    parser.add_argument(
        "--noise", type=share, default=0.1, help="fashion-cnn: deviation of the noise [0.1]"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="write demo.png, demo.json and the service's log"
    )
    return parser.parse_args(arguments)


def numbers(text: str) -> tuple[int, ...]:
    """An argparse type: numbers with commas."""
    return tuple(sorted({int(one) for one in text.split(",")}))


def share(text: str) -> float:
    """An argparse type: 0 to 1."""
    if not 0 <= (number := float(text)) <= 1:
        raise argparse.ArgumentTypeError("0 to 1")
    return number


@contextlib.contextmanager
def scratch(output: Path | None) -> Iterator[Path]:
    """Where the service runs: a folder that goes, with its log kept in `output`."""
    with tempfile.TemporaryDirectory(prefix="demo") as name:
        try:
            yield Path(name)
        finally:
            log = Path(name) / LOG
            if output is not None and log.is_file():
                output.mkdir(parents=True, exist_ok=True)
                (output / LOG).write_bytes(log.read_bytes())


def prepared(options: argparse.Namespace, folder: Path) -> tuple[Scene, Path]:
    """The scene, and the repository that its champion is in."""
    repository = REPOSITORY
    if options.model == "activity-lstm" and set(options.unseen) != set(watch.UNSEEN):
        console.print(f"training a champion without people {scenes.listed(options.unseen)}")
        repository = trained_without(options.unseen, folder / "repository")
    _, directory = Registry([repository]).resolve(options.model)
    if options.model == "activity-lstm":
        return scenes.new_people(directory, options.unseen), repository
    return scenes.darker_camera(directory, options.light, options.noise), repository


def say(moment: Moment) -> None:
    """A line of the timeline."""
    console.print(f"[dim]{moment.at:6.1f} s[/]  {escape(moment.text)}")


def conclude(shown: Found, output: Path | None) -> None:
    """The figures for a person, and files for whoever wants them."""
    if shown.gate:
        gate = Table("gate", "", "", box=None, title_justify="left")
        for line in shown.gate["lines"]:
            gate.add_row(
                line["name"], "passed" if line["passed"] else "failed", escape(line["text"])
            )
        console.print(gate)
    heading, *lines = found.table(shown)
    table = Table(*(escape(one) for one in heading), box=None)
    for one in lines:
        table.add_row(*one)
    console.print(table)
    console.print(
        f"{found.recovered(shown):.0%} of the lost accuracy came back; {100 * found.forgotten(shown):+.1f} points were lost on the usual rows; "
        f"{shown.requests:,} requests, {sum(shown.failed.values())} failed; the bad version answered for {shown.rolled_back_after_s:.1f} s; "
        f"{shown.seconds:.0f} s in all"
    )
    if output is not None:
        output.mkdir(parents=True, exist_ok=True)
        (output / "demo.json").write_bytes(
            msgspec.json.format(msgspec.json.encode(shown), indent=1)
        )
        drawing.drawn(shown).savefig(output / "demo.png", dpi=150)
        console.print(f"written: {escape(str(output))}/demo.png and demo.json")


if __name__ == "__main__":
    sys.exit(main())
