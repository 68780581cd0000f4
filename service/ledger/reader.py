"""What can be asked of a ledger. It must not know how anything came into it, nor on which of the two databases it lies."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import Select, Table, and_, func, select, tuple_

from service.ledger.database import Database
from service.ledger.records import (
    Block,
    Evaluation,
    Figures,
    Label,
    Labelled,
    Payload,
    Prediction,
)
from service.ledger.schema import (
    blocks,
    evaluations,
    first_id,
    is_id,
    labels,
    payloads,
    predictions,
)

MANY = 500
"""Ids in one question, and blocks in one answer."""


def columns(table: Table, record: type[msgspec.Struct]) -> tuple[Any, ...]:
    """The columns of a table that a record holds, in its order."""
    return tuple(table.c[name] for name in record.__struct_fields__)


PREDICTION = columns(predictions, Prediction)
PAYLOAD = columns(payloads, Payload)
LABEL = columns(labels, Label)
BLOCK = columns(blocks, Block)
EVALUATION = columns(evaluations, Evaluation)

CURRENT = (
    select(labels.c.label)
    .where(labels.c.id == payloads.c.id, labels.c.row == payloads.c.row, labels.c.counted)
    .order_by(labels.c.position.desc())
    .limit(1)
    .scalar_subquery()
)
"""The label of a payload's row that counts: each that counted when it came was later than those before."""


class Reader:
    """All that several machines put into one ledger, from any thread. Unavailable when it cannot be had now."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def predictions(self, ids: Sequence[str]) -> list[Prediction]:
        """All rows of these predictions, by id and row."""
        known = [one for one in ids if is_id(one)]
        found: list[Prediction] = []
        with self._database.reading() as connection:
            for at in range(0, len(known), MANY):
                part = predictions.c.id.in_(known[at : at + MANY])
                rows = connection.execute(select(*PREDICTION).where(part))
                found += [Prediction(*row) for row in rows]
        return sorted(found, key=lambda one: (one.id, one.row))

    def labels(self, ids: Sequence[str]) -> list[Label]:
        """All that was said about these predictions, in the order of arrival."""
        known = [one for one in ids if is_id(one)]
        found: list[tuple[int, Label]] = []
        with self._database.reading() as connection:
            for at in range(0, len(known), MANY):
                part = labels.c.id.in_(known[at : at + MANY])
                rows = connection.execute(select(labels.c.position, *LABEL).where(part))
                found += [(row[0], Label(*row[1:])) for row in rows]
        return [label for _, label in sorted(found, key=lambda one: one[0])]

    def newest(self, model: str, version: int, among: int) -> list[tuple[Prediction, bool]]:
        """Of the newest `among` rows that were kept of all models, those of a version, and whether each has a label."""
        recent = (
            select(predictions)
            .order_by(predictions.c.id.desc(), predictions.c.row.desc())
            .limit(among)
            .subquery()
        )
        labelled = (
            select(labels.c.id)
            .where(labels.c.id == recent.c.id, labels.c.row == recent.c.row)
            .exists()
        )
        columns_of = [recent.c[column.name] for column in PREDICTION]
        question = select(*columns_of, labelled).where(
            recent.c.model == model, recent.c.version == version
        )
        with self._database.reading() as connection:
            return [(Prediction(*row[:-1]), bool(row[-1])) for row in connection.execute(question)]

    def labels_after(
        self, model: str, version: int, position: int = 0, limit: int = 1000
    ) -> list[Labelled]:
        """Labels that counted when they came, in the order of arrival, after a position: the same ones whenever it is asked."""
        joined = and_(predictions.c.id == labels.c.id, predictions.c.row == labels.c.row)
        wanted = (
            select(labels.c.position, labels.c.before, *LABEL, *PREDICTION)
            .join(predictions, joined)
            .where(labels.c.model == model, labels.c.version == version)
            .where(labels.c.position > position, labels.c.counted)
            .order_by(labels.c.position)
            .limit(limit)
        )
        split = 2 + len(LABEL)
        with self._database.reading() as connection:
            return [
                Labelled(row[0], Label(*row[2:split]), Prediction(*row[split:]), row[1])
                for row in connection.execute(wanted)
            ]

    def wanted(
        self, model: str, version: int, limit: int = 100, *, newest: bool = False
    ) -> list[Prediction]:
        """Predictions that nobody labelled yet and whose payload is there: the least certain first, of equal ones the newest.

        `newest`: those alone, which were chosen by lot, whatever the model thought of them.
        """
        joined = and_(predictions.c.id == payloads.c.id, predictions.c.row == payloads.c.row)
        labelled = select(labels.c.id).where(
            labels.c.id == payloads.c.id, labels.c.row == payloads.c.row
        )
        latest = (payloads.c.id.desc(), payloads.c.row.desc())
        question = (
            select(*PREDICTION)
            .join(payloads, joined)
            .where(payloads.c.model == model, payloads.c.version == version, ~labelled.exists())
            .order_by(*latest if newest else (predictions.c.confidence, *latest))
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [Prediction(*row) for row in connection.execute(question)]

    def blocks_after(
        self, model: str, version: int, profile: str, position: int = 0, limit: int = MANY
    ) -> list[tuple[int, Block]]:
        """Blocks of all machines in the order of arrival, each with its position, after a position."""
        question = (
            of_version(select(blocks.c.position, *BLOCK), model, version, profile)
            .where(blocks.c.position > position)
            .order_by(blocks.c.position)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [(row[0], Block(*row[1:])) for row in connection.execute(question)]

    def newest_blocks(
        self, model: str, version: int, profile: str, samples: int
    ) -> list[tuple[int, Block]]:
        """The blocks of all machines that came last and hold so many samples, or all there are, each with its position, in the order of arrival."""
        latest = of_version(select(blocks.c.position, *BLOCK), model, version, profile).order_by(
            blocks.c.position.desc()
        )
        found: list[tuple[int, Block]] = []
        held, question = 0, latest
        with self._database.reading() as connection:
            while page := connection.execute(question.limit(64)).all():
                for position, *fields in page:
                    if held >= samples:
                        return found[::-1]
                    found.append((position, Block(*fields)))
                    held += found[-1][1].samples
                question = latest.where(blocks.c.position < page[-1].position)
        return found[::-1]

    def evaluations(self, model: str, version: int, limit: int = 100) -> list[Evaluation]:
        """The evaluations of a version that came last, the oldest of them first."""
        question = (
            select(*EVALUATION)
            .where(evaluations.c.model == model, evaluations.c.version == version)
            .order_by(evaluations.c.position.desc())
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [Evaluation(*row) for row in connection.execute(question)][::-1]

    def payloads(
        self, model: str, since: float, until: float, *, labelled: bool = False
    ) -> Iterator[tuple[Payload, str | None]]:
        """Payloads from `since` and before `until`, oldest first, each with the label that counts; `labelled`: only those that have one.

        It may be read slowly: no transaction is open between two of its parts.
        """
        label = CURRENT.label("truth")
        key = tuple_(payloads.c.id, payloads.c.row)
        question = (
            select(*PAYLOAD, label)
            .where(payloads.c.model == model, payloads.c.id < first_id(until))
            .order_by(payloads.c.id, payloads.c.row)
            .limit(MANY // 10)
        )
        if labelled:
            question = question.where(label.is_not(None))
        last = (first_id(since), -1)
        while True:
            with self._database.reading() as connection:
                page = connection.execute(question.where(key > last)).all()
            if not page:
                return
            for *fields, truth in page:
                yield Payload(*fields), truth
            last = (page[-1].id, page[-1].row)

    def figures(self) -> Figures:
        """How much there is. Every row is counted: not a question for every second."""
        with self._database.reading() as connection:

            def rows(table: Table) -> int:
                return connection.execute(select(func.count()).select_from(table)).scalar_one()

            size = func.coalesce(func.sum(payloads.c.size), 0)
            return Figures(
                predictions=rows(predictions),
                payloads=rows(payloads),
                labels=rows(labels),
                blocks=rows(blocks),
                evaluations=rows(evaluations),
                payload_bytes=int(connection.execute(select(size)).scalar_one()),
                bytes=self._database.size(connection),
            )


def of_version(question: Select[Any], model: str, version: int, profile: str) -> Select[Any]:
    """A question about the blocks of one version that were counted by one profile."""
    return question.where(
        blocks.c.model == model, blocks.c.version == version, blocks.c.profile == profile
    )
