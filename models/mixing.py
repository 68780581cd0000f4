"""What a retraining learns from, stops by and is profiled on: the recipe's own rows and those of the traffic. It must not know jobs.

base rows + four fifths of the traffic -> train
base rows + the other fifth            -> validation, and "recent traffic" among the tests
reference rows, that fifth, base rows  -> profile; where they are few, of the inputs alone, and with the rows that were trained on
"""

import numpy as np

from models.errors import DataError
from models.job import LEAST_REFERENCE
from models.profile import Batch
from models.profiling import Rows
from models.recipes import Hyper, Recipe, Splits
from models.tasks import Row
from models.traffic import Joined, Labelled, Replay, Traffic, some

VALIDATED = 5
"""One traffic row in so many is not trained on, but validated on."""
RECENT = "accuracy_recent_traffic"
BASE_PART = 0.1
"""The share of base rows in a profile of traffic: what was usual before stays known."""
TOGETHER = 64


def mixed(
    recipe: Recipe, hyper: Hyper, base: Splits, traffic: Traffic, share: float | None, seed: int
) -> Splits:
    """The splits with the traffic among them: `share` base rows in every batch. None: as many as there are, for a network that begins anew.

    In the validation loss old and new count the same: the old rows alone would keep an epoch in which little had been learned yet.
    """
    checked(recipe, traffic)

    def varied(row: Row, rng: np.random.Generator) -> Row:
        return recipe.varied(row, hyper, rng)

    order = np.random.default_rng(seed).permutation(len(traffic.rows))
    cut = len(order) // VALIDATED
    kept = Labelled(picked(traffic, order[:cut]), recipe.inputs, recipe.padding)
    learnt = Labelled(picked(traffic, order[cut:]), recipe.inputs, recipe.padding, varied)
    if share is None:
        share = len(base.train) / (len(base.train) + len(learnt))
    old = some(base.validation, recipe, round(share / (1 - share) * max(1, cut)))
    times = round(len(old.rows) / cut) if cut else 0
    validation = Joined(Labelled(old, recipe.inputs, recipe.padding), *[kept] * max(1, times))
    tests = base.tests | ({RECENT: kept} if cut else {})
    return Splits(Replay(base.train, learnt, share), validation, tests, base.data_sha256)


def picked(traffic: Traffic, chosen: np.ndarray) -> Traffic:
    """Some of the rows."""
    return Traffic([traffic.rows[i] for i in chosen], traffic.labels[chosen])


def profiled(recipe: Recipe, splits: Splits, reference: Traffic) -> Rows | None:
    """The rows of a profile that describes the traffic which the version will meet; None where too little of it is known.

    Where rows that nobody learnt from are too few, those that were learnt from join them: what a row looks like does not depend on who learnt
    from it. What the version makes of a row does, so such a profile has signals of the inputs alone.
    """
    checked(recipe, reference, unknown=True)
    recent = [splits.tests[RECENT]] if RECENT in splits.tests else []
    learnt = splits.train.traffic if isinstance(splits.train, Replay) else None
    met = len(reference.rows) + sum(map(len, recent))
    taken = list(learnt.batches(TOGETHER)) if learnt is not None and met < LEAST_REFERENCE else []
    known = met + sum(len(labels) for _, labels in taken)
    if known < LEAST_REFERENCE:
        return None
    base = some(splits.tests["accuracy"], recipe, round(BASE_PART / (1 - BASE_PART) * known))
    parts = [Labelled(part, recipe.inputs, recipe.padding) for part in (reference, base)]
    source = f"{known:,} rows of recent traffic, and {len(base.rows):,} held-out {recipe.unit}"
    if taken:
        source += f" (signals of the inputs alone: the version learnt from {known - met:,} of them)"
    return Rows(Joined(*parts, *recent), [Batch(inputs, {}) for inputs, _ in taken], source)


def checked(recipe: Recipe, traffic: Traffic, *, unknown: bool = False) -> None:
    """DataError unless the rows are what the model takes, with labels that it has (or -1, where they may be `unknown`)."""
    lowest, highest = (-1 if unknown else 0), len(recipe.labels) - 1
    found = traffic.labels
    if len(found) and not lowest <= found.min() <= found.max() <= highest:
        raise DataError(
            f"labels of the traffic lie in {found.min()}..{found.max()}, the model's in {lowest}..{highest}"
        )
    for row in traffic.rows:
        for tensor in recipe.inputs:
            value = row.get(tensor.name)
            if value is None or value.dtype != tensor.dtype or not fits(value, tensor.shape[1:]):
                told = "missing" if value is None else f"{value.dtype} {list(value.shape)}"
                raise DataError(
                    f"input '{tensor.name}' of the traffic is {told}, the model takes {tensor.dtype} {list(tensor.shape[1:])}"
                )


def fits(value: np.ndarray, shape: tuple[int | str, ...]) -> bool:
    """Whether an array has the declared axes."""
    return value.ndim == len(shape) and all(
        isinstance(axis, str) or axis == size for axis, size in zip(shape, value.shape, strict=True)
    )
