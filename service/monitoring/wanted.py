"""Which predictions are most worth a label, and why. Pure; it must not know where predictions are kept.

drift       by lot among the rows that came since the drift began: their labels tell whether it hurts
sample      by lot among all rows, while nothing drifts: their labels tell how good the model is
uncertain   those that the model is least sure of: their labels teach most
class       of the classes that were answered and labelled least: so that none is forgotten

Labels of the last two are no sample of the traffic: a model is more often wrong where it is unsure. They are asked for with a source of
their own, ACTIVE, by which they are kept out of accuracy and harm.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from service.ledger.records import Prediction
from service.monitoring.quality import ACTIVE

Why = Literal["drift", "sample", "uncertain", "class"]

TURNS: tuple[Why, ...] = ("drift", "sample", "uncertain", "drift", "sample", "class")
"""Who names the next one: rows by lot come first, half of all when the others have enough."""


class Wanted(msgspec.Struct, frozen=True):
    """A row worth a label. `label` and `confidence` are what the model said; `source` is to be sent with the label."""

    prediction_id: str
    row: int
    version: int
    at: float
    label: str
    confidence: float
    why: Why
    source: str


def wanted(
    labels: Sequence[str],
    newest: Sequence[Prediction],
    uncertain: Sequence[Prediction],
    labelled: Counter[int],
    since: float | None,
    limit: int,
) -> list[Wanted]:
    """At most `limit`, the most wanted first. The same rows again until they are labelled.

    `newest` and `uncertain` have no label yet: the former were kept by lot, the latter are ordered. `labelled` counts labels by what was
    answered; `since` is when the drift began that is on.
    """
    drawn = by_lot(one for one in newest if since is None or one.at >= since)
    # The others pass over what the lot takes: a sample without the rows that they want would look better than the traffic is.
    kept = {(one.id, one.row) for one in drawn[: (min(limit, len(newest)) + 1) // 2]}
    scarce = sorted(newest, key=lambda one: (labelled[one.label], one.confidence))
    lines: dict[Why, Iterator[Prediction]] = {
        "sample" if since is None else "drift": iter(drawn),
        "uncertain": (one for one in uncertain if (one.id, one.row) not in kept),
        "class": (one for one in scarce if (one.id, one.row) not in kept),
    }
    found: dict[tuple[str, int], Wanted] = {}
    while len(found) < limit and lines:
        for why in [turn for turn in TURNS if turn in lines]:
            if why not in lines:
                continue
            one = next((o for o in lines[why] if (o.id, o.row) not in found), None)
            if one is None:
                del lines[why]
            elif len(found) < limit:
                found[one.id, one.row] = asked(one, labels, why)
    return list(found.values())


def by_lot(rows: Iterable[Prediction]) -> list[Prediction]:
    """In an order that has nothing to do with time or content, and stays: by the random end of the id."""
    return sorted(rows, key=lambda one: (one.id[-12:], one.row))


def asked(one: Prediction, labels: Sequence[str], why: Why) -> Wanted:
    """A prediction as it is asked for."""
    label = labels[one.label] if 0 <= one.label < len(labels) else str(one.label)
    source = ACTIVE if why in ("uncertain", "class") else ""
    return Wanted(one.id, one.row, one.version, one.at, label, one.confidence, why, source)
