"""A profile from rows that the model never learned from: held-out rows, or recorded traffic. It must know neither training nor the engine.

batches of (inputs, outputs, labels) -> projection -> signals -> bins -> nulls -> Profile
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from models.bundle import Manifest
from models.profile import calibration, estimate
from models.profile.answers import Projection, classes, probabilities
from models.profile.profile import Layout, Profile, Signal
from models.profile.signals import Arrays, Kind, Panel

BINS = 16
TAIL = 0.005
"""The share of the reference beyond the outermost edges. Not none: what lies beyond everything seen once is no rarity in larger windows."""
DIRECTIONS = 8
CLASSES = 50
"""More classes than this share bins with their neighbours."""
RESAMPLES = 10_000


class Batch(NamedTuple):
    """Rows as the model takes and answers them. Labels int64 [rows] where they are known."""

    inputs: Arrays
    outputs: Arrays
    labels: np.ndarray | None = None


class About(msgspec.Struct, frozen=True):
    """Where the rows come from, for whoever reads the profile."""

    source: str
    data_sha256: str
    created_at: str
    seed: int = 1
    resamples: int = RESAMPLES
    variant: str | None = None


def build(
    manifest: Manifest,
    directory: Path,
    batches: Iterable[Batch],
    about: About,
    progress: calibration.Progress | None = None,
) -> Profile:
    """The profile of the version in `directory`. InputError where there are too few rows.

    Signals of an output that a batch lacks are left out. Estimates of accuracy are learned from the batches that have labels.
    """
    given = list(batches)
    rows = shared(given)
    calibration.admitted(sum(len(next(iter(batch.inputs.values()))) for batch in rows))
    projection = projected(manifest, rows)
    panel = Panel(manifest, directory, projection)
    values = np.concatenate([panel.values(batch.inputs, batch.outputs) for batch in rows])
    told = np.flatnonzero(np.isfinite(values).any(axis=0))
    values = values[:, told]
    signals = tuple(
        signal(panel.names[place], panel.kinds[place], column)
        for place, column in zip(told, values.T, strict=True)
    )
    layout = Layout(signals)
    bins = layout.bins(values)
    counts = np.split(layout.counts(bins), layout.offsets[1:])
    return Profile(
        model=manifest.name,
        version=manifest.version,
        source=about.source,
        rows=len(values),
        data_sha256=about.data_sha256,
        seed=about.seed,
        resamples=about.resamples,
        created_at=about.created_at,
        signals=tuple(
            msgspec.structs.replace(one, counts=tuple(found.tolist()))
            for one, found in zip(signals, counts, strict=True)
        ),
        nulls=calibration.nulls(layout, bins, about.resamples, about.seed, progress),
        projection=projection,
        estimate=learned(manifest, given),
        variant=about.variant,
    )


def shared(rows: Sequence[Batch]) -> list[Batch]:
    """The batches with those outputs that all of them have: with the others in a part of the rows only, every other window would differ."""
    common = set.intersection(*(set(batch.outputs) for batch in rows)) if rows else set()
    return [
        batch._replace(outputs={name: batch.outputs[name] for name in sorted(common)})
        for batch in rows
    ]


def signal(name: str, kind: Kind, values: np.ndarray) -> Signal:
    """The bins of one signal that has a number in some row, still empty."""
    known = values[np.isfinite(values)]
    if name == "class":
        return Signal(name, kind, class_edges(known), (), ordered=False)
    return Signal(name, kind, quantile_edges(known), ())


def class_edges(classes: np.ndarray) -> tuple[float, ...]:
    """Around every class up to the last that occurs; of very many, around groups of neighbours that occur about equally often."""
    last = int(classes.max())
    first = np.arange(last + 1)
    if last >= CLASSES:
        first = np.unique(np.quantile(classes, np.arange(CLASSES) / CLASSES, method="lower"))
    return (*(float(one) - 0.5 for one in first), last + 0.5)


def quantile_edges(known: np.ndarray) -> tuple[float, ...]:
    """Edges that leave about as many rows in each bin, and in the two outermost a few. A value that alone would fill a bin gets one."""
    known = np.sort(known.astype(np.float32))
    places = np.unique(np.concatenate([[TAIL, 1 - TAIL], np.arange(1, BINS) / BINS]))
    edges = np.quantile(known, places, method="higher").astype(np.float32)
    frequent, counts = np.unique(known, return_counts=True)
    frequent = frequent[counts * BINS >= len(known)]
    edges = np.concatenate([edges, frequent, np.nextafter(frequent, np.float32(np.inf))])
    return tuple(float(f"{edge:.9g}") for edge in np.unique(edges))


def projected(manifest: Manifest, rows: list[Batch]) -> Projection | None:
    """The main directions of the embeddings, if there are any. Each points to where its largest component is positive."""
    tensor = manifest.output("embedding")
    if tensor is None or tensor.name not in rows[0].outputs:
        return None
    all_rows = [batch.outputs[tensor.name] for batch in rows]
    found = np.concatenate([one.reshape(len(one), -1) for one in all_rows]).astype(np.float64)
    centre = found.mean(axis=0)
    _, vectors = np.linalg.eigh(np.cov(found.T))
    components = vectors[:, ::-1][:, :DIRECTIONS].T
    largest = components[np.arange(len(components)), np.abs(components).argmax(axis=1)]
    components = components * np.sign(largest)[:, None]
    return Projection(short(centre), tuple(short(component) for component in components))


def short(numbers: np.ndarray) -> tuple[float, ...]:
    """Numbers with as many digits as a projection needs."""
    return tuple(float(f"{number:.5g}") for number in numbers)


def learned(manifest: Manifest, rows: list[Batch]) -> estimate.Estimate | None:
    """How to estimate accuracy, from the batches that have labels, where the model gives probabilities or logits."""
    if classes(manifest) < 2:
        return None
    told = [
        (shares, batch.labels)
        for batch in rows
        if batch.labels is not None
        and (shares := probabilities(manifest, batch.outputs)) is not None
    ]
    if not told:
        return None
    return estimate.learn(*(np.concatenate(part) for part in zip(*told, strict=True)))
