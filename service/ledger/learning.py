"""What a model can learn from: labels with the rows that they are about. It must not know which of them are chosen.

A label tells of a row that somebody sent; the row can be learnt from where its payload was kept.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import and_, func, select

from service.ledger.database import Database
from service.ledger.reader import CURRENT, MANY
from service.ledger.records import Counted, Said
from service.ledger.schema import labels, payloads, predictions

MOST_LABELS = 100_000
"""Labels that are looked through for one training, the newest."""


SAID: tuple[Any, ...] = (
    labels.c.position,
    labels.c.id,
    labels.c.row,
    labels.c.label,
    labels.c.source,
    labels.c.observed_at,
    labels.c.counted,
    labels.c.version,
    predictions.c.at,
    predictions.c.label,
)
OF_PREDICTION = and_(predictions.c.id == labels.c.id, predictions.c.row == labels.c.row)
OF_PAYLOAD = and_(payloads.c.id == labels.c.id, payloads.c.row == labels.c.row)


class Learning:
    """Calls may come from any thread. Unavailable when the ledger cannot be had now."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def counted(self, model: str, after: int) -> Counted:
        """How many rows were labelled for the first time after a position."""
        came = labels.alias("came")
        new = (
            came.c.model == model,
            came.c.counted,
            came.c.before.is_(None),
            came.c.position > after,
        )
        here = and_(came.c.id == payloads.c.id, came.c.row == payloads.c.row)
        truths = select(CURRENT.label("truth")).select_from(payloads).join(came, here).where(*new)
        kept = truths.subquery()
        by_class = select(kept.c.truth, func.count()).group_by(kept.c.truth)
        newest = select(func.max(labels.c.position)).where(labels.c.model == model)
        with self._database.reading() as connection:
            total = connection.execute(
                select(func.count()).select_from(came).where(*new)
            ).scalar_one()
            found = {str(name): int(count) for name, count in connection.execute(by_class)}
            position = connection.execute(newest).scalar_one() or 0
        return Counted(int(total), found, int(position))

    def said(
        self, model: str, since: float | None = None, until: float | None = None
    ) -> list[Said]:
        """Everything that was said about rows whose payload is there, in the order of arrival; of rows met in a time, if one is given."""
        question = (
            select(*SAID)
            .join(predictions, OF_PREDICTION)
            .join(payloads, OF_PAYLOAD)
            .where(labels.c.model == model)
            .order_by(labels.c.position.desc())
            .limit(MOST_LABELS)
        )
        if since is not None:
            question = question.where(predictions.c.at >= since)
        if until is not None:
            question = question.where(predictions.c.at < until)
        with self._database.reading() as connection:
            return [Said(*row) for row in connection.execute(question)][::-1]

    def recent(self, model: str, versions: Sequence[int], limit: int) -> list[tuple[str, int]]:
        """The newest rows whose payload is there, the newest first."""
        row = (payloads.c.id, payloads.c.row)
        question = (
            select(*row)
            .where(payloads.c.model == model, payloads.c.version.in_(versions))
            .order_by(payloads.c.id.desc(), payloads.c.row.desc())
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [(one.id, one.row) for one in connection.execute(question)]

    def data(self, ids: Sequence[str]) -> dict[tuple[str, int], bytes]:
        """The payloads of all rows of some predictions."""
        found: dict[tuple[str, int], bytes] = {}
        for part in parts(sorted(set(ids))):
            question = select(payloads.c.id, payloads.c.row, payloads.c.data).where(
                payloads.c.id.in_(part)
            )
            with self._database.reading() as connection:
                found |= {
                    (one.id, one.row): bytes(one.data) for one in connection.execute(question)
                }
        return found


def parts(ids: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """As many at a time as one question takes."""
    for at in range(0, len(ids), MANY):
        yield ids[at : at + MANY]
