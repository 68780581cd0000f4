"""Labels that come in: held against the predictions that they are about, then stored, all of a batch or none.

It runs where the ledger's calls run, and must not know who sent the labels.
"""

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence

import msgspec

from models.errors import InputError
from service.ledger.ledger import Ledger
from service.ledger.records import Label, Outcome, Prediction
from service.ledger.schema import made_at

YOUNG_SECONDS = 60.0
"""A prediction younger than this may still be on its way from a front end to the ledger."""
AHEAD_SECONDS = 300.0
"""How far the clock of whoever observed a label may be ahead of this one."""
LISTED = 50
"""Classes that a message names."""

Row = tuple[str, int]


class Item(msgspec.Struct, frozen=True):
    """One label as it was sent."""

    prediction_id: str
    label: str
    row: int = 0
    source: str = ""
    observed_at: float | None = None


class Taken(msgspec.Struct, frozen=True):
    """What became of a batch. `told`: (version, outcome) of each label, where an accepted one is "correct" or "incorrect"; 0: no version.

    `delays`: seconds from prediction to label of those that were accepted.
    """

    outcomes: list[Outcome]
    told: list[tuple[int, str]]
    delays: list[float]


def unseen(ledger: Ledger, items: Collection[Item]) -> bool:
    """Whether a prediction among them is not in the ledger, and so young that it may come."""
    horizon = time.time() - YOUNG_SECONDS
    young = {
        (item.prediction_id, item.row) for item in items if made_at(item.prediction_id) > horizon
    }
    known = {(one.id, one.row) for one in ledger.predictions([one for one, _ in young])}
    return not young <= known


def take(
    ledger: Ledger, model: str, items: Sequence[Item], classes_of: Callable[[int], Sequence[str]]
) -> Taken:
    """Store the labels. InputError naming the first item that cannot be right, and then nothing is stored.

    `classes_of` knows the labels of a version. A label without `observed_at` that its source gave before is a duplicate; another one is
    a correction, observed now.
    """
    now = time.time()
    ids = list({item.prediction_id for item in items})
    known = {(one.id, one.row): one for one in ledger.predictions(ids)}
    check(model, items, known, classes_of, now)
    said = {(one.id, one.row, one.source): one.label for one in ledger.labels(ids)}
    fresh = [
        item
        for item in items
        if item.observed_at is not None
        or said.get((item.prediction_id, item.row, item.source)) != item.label
    ]
    stored = iter(ledger.add_labels([record(item, now) for item in fresh]))
    new = {id(item) for item in fresh}
    outcomes: list[Outcome] = [next(stored) if id(item) in new else "duplicate" for item in items]
    return settled(items, outcomes, known, classes_of, now)


def check(
    model: str,
    items: Sequence[Item],
    known: dict[Row, Prediction],
    classes_of: Callable[[int], Sequence[str]],
    now: float,
) -> None:
    """Raise InputError for the first item that cannot be right, whatever else is sent."""
    rows = Counter(prediction for prediction, _ in known)
    versions = {one.id: one for one in known.values()}
    first: dict[tuple[str, int, str, float | None], int] = {}
    for index, item in enumerate(items):
        where = f"labels[{index}]"
        if item.observed_at is not None and item.observed_at > now + AHEAD_SECONDS:
            ahead = item.observed_at - now
            raise InputError(f"{where}: observed_at is {ahead:,.0f} s ahead of this clock")
        key = (item.prediction_id, item.row, item.source, item.observed_at)
        other = first.setdefault(key, index)
        if items[other].label != item.label:
            raise InputError(
                f"{where}: says '{item.label[:80]}', labels[{other}] says '{items[other].label[:80]}' of the same row"
            )
        if (of := versions.get(item.prediction_id)) is None:
            continue
        if of.model != model:
            raise InputError(
                f"{where}: prediction {of.id} is of model '{of.model}', not of '{model}'"
            )
        # Of some that are missing it may be one: rows of one request reach the ledger apart.
        if item.row >= rows[of.id] and (of.id, rows[of.id] - 1) in known:
            raise InputError(
                f"{where}: row {item.row}, but the request had {rows[of.id]} rows, counted from 0"
            )
        if item.label not in (classes := classes_of(of.version)):
            raise InputError(
                f"{where}: '{item.label[:80]}' is no class of {model}/{of.version}, only {listed(classes)}"
            )


def listed(classes: Sequence[str]) -> str:
    """The classes in words."""
    more = f" and {len(classes) - LISTED} more" if len(classes) > LISTED else ""
    return (", ".join(classes[:LISTED]) or "there are none") + more


def record(item: Item, now: float) -> Label:
    """A label as it is stored."""
    observed = now if item.observed_at is None else item.observed_at
    return Label(item.prediction_id, item.row, item.label, item.source, observed, now)


def settled(
    items: Sequence[Item],
    outcomes: Sequence[Outcome],
    known: dict[Row, Prediction],
    classes_of: Callable[[int], Sequence[str]],
    now: float,
) -> Taken:
    """The outcomes, and what they say about the answers."""
    told: list[tuple[int, str]] = []
    delays: list[float] = []
    for item, outcome in zip(items, outcomes, strict=True):
        of = known.get((item.prediction_id, item.row))
        if of is None or outcome != "accepted":
            told.append((0 if of is None else of.version, outcome))
            continue
        right = classes_of(of.version).index(item.label) == of.label
        told.append((of.version, "correct" if right else "incorrect"))
        delays.append(max(0.0, now - of.at))
    return Taken(list(outcomes), told, delays)
