"""Who sends what: real rows that a model knows, and real rows that have changed. It must not know the service or what comes of them.

Rows that the loop may learn from and rows that it is judged by are cut apart before anything is sent: by recording or in time where they are
series, by row where they are pictures. No row is in both, and no window reaches from one into the other.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from loadtests.payloads import Payload, to_json
from models import bundle, tasks
from models.datasets import fashion, watch
from service import examples

SEED = 11
SENT_SHARE = 0.6
"""Of the recordings of known people: those that are sent. The others judge."""
LEARNT_SHARE = 0.65
"""Of each recording of new people, its beginning: what the loop may learn from."""
WINDOW = 200
"""Samples of a row: the 4 s of the rows that the model's reference for drift was made from."""
JUDGED_STARTS = (0, 50, 100, 150)
"""What judges is cut into windows from each of these samples on: nobody knows where a movement begins."""
FIRST, LEARNT, LAST = 250, 400, 500
"""Pictures as they were, changed ones that may be learnt from, and of both kinds those that judge."""


class Item(NamedTuple):
    """One row as people send it and as programs do, and what it is."""

    people: Payload
    program: bytes
    label: str


class Scene(NamedTuple):
    """What happens to a model's traffic. `known` and `changed` are sent, of `changed` all come with labels; the others judge."""

    model: str
    usual: str
    unusual: str
    known: list[Item]
    changed: list[Item]
    known_later: list[Item]
    changed_later: list[Item]


def new_people(directory: Path, unseen: Collection[int] = watch.UNSEEN) -> Scene:
    """activity-lstm meets people whom it has never seen. `directory` is the bundle's."""
    rng = np.random.default_rng(SEED)
    _, later, others = watch.parts(unseen)
    order = rng.permutation(len(later))
    cut = int(SENT_SHARE * len(order))
    known, known_later = ([later[i] for i in part] for part in np.split(order, [cut]))
    changed, changed_later = halves(others, LEARNT_SHARE)

    def of(parts: Sequence[watch.Recording], starts: Sequence[int]) -> list[Item]:
        windows = cuts(parts, starts)
        names = [watch.LABELS[label] for label in windows.labels]
        return items(directory, windows.series, names, rng)

    return Scene(
        "activity-lstm",
        f"people {listed(sorted({one.person for one in later}))}, whom it was trained on",
        f"people {listed(sorted(unseen))}, whom it has never seen",
        of(known, [0]),
        of(changed, [0]),
        of(known_later, JUDGED_STARTS),
        of(changed_later, JUDGED_STARTS),
    )


def darker_camera(directory: Path, light: float, noise: float) -> Scene:
    """fashion-cnn behind a camera that lost `1 - light` of its light and has noise of deviation `noise` (of the full range)."""
    rng = np.random.default_rng(SEED)
    pictures = fashion.read("t10k")
    order = rng.permutation(len(pictures.labels))
    cut = np.cumsum([FIRST, LEARNT, LAST, LAST])
    known, changed, known_later, changed_later, _ = np.split(order, cut)
    dark = spoilt(pictures.images, light, noise, rng)

    def of(images: np.ndarray, chosen: np.ndarray) -> list[Item]:
        names = [fashion.LABELS[label] for label in pictures.labels[chosen]]
        return items(directory, list(images[chosen]), names, rng)

    return Scene(
        "fashion-cnn",
        "pictures as it knows them",
        f"a camera with {light:.0%} of the light, and noise of {noise:.0%}",
        of(pictures.images, known),
        of(dark, changed),
        of(pictures.images, known_later),
        of(dark, changed_later),
    )


def spoilt(images: np.ndarray, light: float, noise: float, rng: np.random.Generator) -> np.ndarray:
    """uint8 pictures as such a camera would have taken them."""
    found: np.ndarray = light * images + rng.normal(0, 255 * noise, images.shape)
    return np.round(found).clip(0, 255).astype(np.uint8)


def cuts(recordings: Sequence[watch.Recording], starts: Sequence[int]) -> watch.Windows:
    """Windows of 4 s, one behind the other, from each of `starts` on."""
    series, labels = [], []
    for one in recordings:
        for start in starts:
            for begins in range(start, len(one.samples) - WINDOW + 1, WINDOW):
                series.append(one.samples[begins : begins + WINDOW])
                labels.append(one.label)
    return watch.Windows(series, np.array(labels))


def halves(
    recordings: Sequence[watch.Recording], share: float
) -> tuple[list[watch.Recording], list[watch.Recording]]:
    """The first `share` of each, and the rest of each."""
    begun, ended = [], []
    for one in recordings:
        cut = int(share * len(one.samples))
        begun.append(one._replace(samples=one.samples[:cut]))
        ended.append(one._replace(samples=one.samples[cut:]))
    return begun, ended


def items(
    directory: Path, rows: list[Any], labels: list[str], rng: np.random.Generator
) -> list[Item]:
    """Rows in a random order."""
    manifest = bundle.read(directory)
    processor = tasks.processor(manifest.task, directory)
    found = []
    for index in rng.permutation(len(rows)):
        row = tasks.stack([processor.row(rows[index])])
        found.append(Item(sent(rows[index]), infer(row), labels[index]))
    return found


def sent(row: np.ndarray) -> Payload:
    """A picture (uint8) or a series (float32) as people send it."""
    if row.dtype == np.uint8:
        return Payload({"Content-Type": "image/png"}, examples.png(row[None] / np.float32(255)))
    return to_json({"series": row.tolist()})


def infer(row: dict[str, np.ndarray]) -> bytes:
    """The same row as the Open Inference Protocol's JSON."""
    types = {"float32": "FP32", "int32": "INT32", "int64": "INT64"}
    inputs = [
        {
            "name": name,
            "datatype": types[str(array.dtype)],
            "shape": list(array.shape),
            "data": array.ravel().tolist(),
        }
        for name, array in row.items()
    ]
    return to_json({"inputs": inputs, "outputs": [{"name": "probabilities"}]}).body


def listed(numbers: Collection[int]) -> str:
    """8, 9 and 10."""
    *front, last = map(str, numbers)
    return f"{', '.join(front)} and {last}" if front else last
