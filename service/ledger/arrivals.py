"""What becomes of labels that come in. It must not know how they are stored, nor what they say.

Of one row the label with the latest `observed_at` counts, whatever its source (of two at the same time, the one whose source is later in the
alphabet): the same labels in any order, any number of times, end in the same state.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from service.ledger.records import Label, Outcome
from service.ledger.schema import is_id, made_at, packed, unpacked

Row = tuple[str, int]
"""A prediction's id, written as the ledger writes it, and the row."""


class Known(msgspec.Struct):
    """What is known of a row: by whom and when it was labelled, and what counts."""

    model: str
    version: int
    seen: set[tuple[float, str]] = msgspec.field(default_factory=set)
    newest: tuple[float, str] | None = None
    label: str | None = None

    def add(self, label: str, source: str, observed_at: float) -> bool:
        """Take a label in; whether it counts from now on."""
        told = (observed_at, source)
        self.seen.add(told)
        if self.newest is not None and told < self.newest:
            return False
        self.newest, self.label = told, label
        return True


class Accepted(NamedTuple):
    """A label to be stored: of which version, whether it counts, and what counted until then."""

    label: Label
    model: str
    version: int
    counted: bool
    before: str | None

    def row(self) -> dict[str, Any]:
        """As its columns."""
        told = self._asdict()
        return msgspec.structs.asdict(told.pop("label")) | told


def candidates(labels: Iterable[Label], age_s: float) -> list[Outcome | Row]:
    """For each label the row that it is about, or already the outcome: none of ours, or of a prediction that is too old to be there."""

    def one(label: Label) -> Outcome | Row:
        if not is_id(label.id):
            return "unknown"
        late = made_at(label.id) < label.received_at - age_s
        return "late" if late else (unpacked(packed(label.id)), label.row)

    return [one(label) for label in labels]


def settle(
    labels: Sequence[Label], rows: Sequence[Outcome | Row], known: dict[Row, Known]
) -> tuple[list[Outcome], list[Accepted]]:
    """The outcome of each label, in order, and what is to be stored; `known` learns from one label to the next."""
    outcomes: list[Outcome] = []
    accepted: list[Accepted] = []
    for label, row in zip(labels, rows, strict=True):
        if isinstance(row, str):
            outcomes.append(row)
        elif (of := known.get(row)) is None:
            outcomes.append("unknown")
        elif (label.observed_at, label.source) in of.seen:
            outcomes.append("duplicate")
        else:
            before = of.label
            counted = of.add(label.label, label.source, label.observed_at)
            accepted.append(Accepted(label, of.model, of.version, counted, before))
            outcomes.append("accepted")
    return outcomes, accepted
