"""The data sets as files: `python -m models.datasets` lists them, `... export NAME --to DIR` writes the held-out items.

What is written is what a service takes: PNG pictures, {"series": ...} and {"text": ...}. labels.json maps each file to its label.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from models.datasets import fashion, reviews, watch
from models.datasets.sources import cache
from models.errors import DataError, EvergreenError

LABELS = "labels.json"
FOUR_SECONDS = int(4 * watch.RATE_HZ)

Item = tuple[str, Callable[[Path], object]]
"""An item's label, and what writes it to a path."""


class Dataset(NamedTuple):
    """One set: `rows` counts (training, held out) rows, `items` gives the held-out ones, written with `suffix`."""

    licence: str
    suffix: str
    rows: Callable[[], list[int]]
    items: Callable[[], Iterator[Item]]


def main(arguments: list[str] | None = None) -> None:
    """List the sets, or export one."""
    parser = argparse.ArgumentParser(prog="python -m models.datasets", description=__doc__)
    commands = parser.add_subparsers(dest="command")
    one = commands.add_parser("export", help="write the held-out items of a set as files")
    one.add_argument("name", choices=sorted(SETS))
    one.add_argument("--to", type=Path, required=True, metavar="DIR", help="made if not there")
    one.add_argument("--limit", type=count, metavar="N", help="at most N items")
    options = parser.parse_args(arguments)
    if options.command == "export":
        labels = export(SETS[options.name], options.to, options.limit)
        print(f"{len(labels):,} items of {options.name} in {options.to}")
        return
    for name, known in SETS.items():
        print(f"{name}: {state(known)}; licence: {known.licence}")


def count(text: str) -> int:
    """A number from 1 on; argparse says so where it is none."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return number


def state(known: Dataset) -> str:
    """How much there is and where, or why it is not there."""
    try:
        training, held_out = known.rows()
    except DataError as error:
        return f"not there: {error}"
    return f"{training:,} rows to train on, {held_out:,} held out, found in {cache()}"


def export(known: Dataset, folder: Path, limit: int | None = None) -> dict[str, str]:
    """Write the first `limit` held-out items and labels.json. Returns file name -> label name."""
    items = islice(known.items(), limit)
    labels = {}
    folder.mkdir(parents=True, exist_ok=True)
    for number, (label, write) in enumerate(items):
        name = f"{number:05}{known.suffix}"
        write(folder / name)
        labels[name] = label
    (folder / LABELS).write_text(json.dumps(labels, indent=1) + "\n", encoding="utf-8")
    return labels


def pictures() -> Iterator[Item]:
    """The official test split of Fashion-MNIST."""
    for image, label in zip(*fashion.read("t10k"), strict=True):
        yield fashion.LABELS[label], Image.fromarray(image).save


def series() -> Iterator[Item]:
    """Windows of 4 s from the part of each recording that was held out in time."""
    for samples, label in zip(*watch.windows(watch.parts()[1], FOUR_SECONDS), strict=True):
        # As text first: the shortest decimals that name each float32, half as long as the float64's.
        yield watch.LABELS[label], body("series", samples.astype(str).astype(np.float64).tolist())


def texts() -> Iterator[Item]:
    """The held-out sentences."""
    for text, label in zip(*reviews.rotten_tomatoes()[1], strict=True):
        yield reviews.LABELS[label], body("text", text)


def body(key: str, value: object) -> Callable[[Path], object]:
    """What writes {key: value} as JSON."""
    return lambda path: path.write_text(json.dumps({key: value}), encoding="utf-8")


def rows(parts: Iterable[fashion.Pictures | watch.Windows | reviews.Sentences]) -> list[int]:
    """How many rows each part has."""
    return [len(part.labels) for part in parts]


SETS = {
    "fashion-mnist": Dataset("MIT", ".png", lambda: rows(fashion.load()), pictures),
    "watch": Dataset(
        "BSD-3",
        ".json",
        lambda: rows(watch.windows(part, FOUR_SECONDS) for part in watch.parts()[:2]),
        series,
    ),
    "reviews": Dataset("none stated", ".json", lambda: rows(reviews.rotten_tomatoes()), texts),
}

if __name__ == "__main__":
    try:
        main()
    except EvergreenError as error:
        sys.exit(str(error))
