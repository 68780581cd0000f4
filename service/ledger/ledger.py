"""How a ledger changes. It must not know who asks for it, nor on which of the two databases it lies.

A call is one transaction: when it returns, what it wrote is on the disk. When it raises Unavailable nothing was written, or all of it where only
the answer was lost; it may be made again, because what is added twice is there once.
"""

import logging
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Table, delete, select

from service.errors import Unavailable
from service.ledger import expiry
from service.ledger.arrivals import Known, Row, candidates, settle
from service.ledger.database import Database
from service.ledger.jobs import Jobs
from service.ledger.learning import Learning
from service.ledger.reader import MANY, Reader
from service.ledger.records import (
    DAY,
    MEGABYTE,
    Block,
    Erased,
    Evaluation,
    Label,
    Limits,
    Outcome,
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
from service.settings import Settings

log = logging.getLogger(__name__)

COUNT_SECONDS = 600.0
"""How often it is counted whether there are too many predictions: a second for ten million."""


class Ledger(Reader):
    """Predictions, payloads, labels, blocks and evaluations of all machines that share it; calls may come from any thread.

    `jobs` are their retrainings, `learning` what these can learn from.
    """

    def __init__(self, database: Database, limits: Limits) -> None:
        super().__init__(database)
        self.jobs, self.learning = Jobs(database), Learning(database)
        self.limits = limits
        self._counted, self._newest = float("-inf"), first_id(0)

    @classmethod
    def open(cls, url: str, limits: Limits | None = None) -> "Ledger":
        """A ledger by its URL. SettingsError when it cannot be one; one that cannot be reached yet is tried again when it is used."""
        ledger = cls(Database(url), limits or Limits())
        try:
            ledger._database.prepare()
        except Unavailable as error:
            log.warning("%s; it is tried again when it is needed", error)
        except BaseException:
            ledger.close()
            raise
        return ledger

    @classmethod
    def of(cls, settings: Settings) -> "Ledger":
        """The ledger that the settings name; a file in the state directory when they name none."""
        limits = Limits(
            age_s=settings.ledger_days * DAY,
            rows=settings.ledger_rows,
            payload_age_s=settings.payload_days * DAY,
            payload_bytes=settings.payload_mb * MEGABYTE,
        )
        file = settings.state.absolute() / "ledger.sqlite"
        return cls.open(settings.ledger_url or f"sqlite:///{file}", limits)

    def close(self) -> None:
        """Close its connections."""
        self._database.close()

    def add_predictions(self, records: Sequence[Prediction]) -> None:
        """Add what was answered."""
        self._add(predictions, [msgspec.structs.asdict(one) for one in records])

    def add_payloads(self, records: Sequence[Payload]) -> None:
        """Add what was asked."""
        sized = [msgspec.structs.asdict(one) | {"size": len(one.data)} for one in records]
        self._add(payloads, sized)

    def add_blocks(self, records: Sequence[Block]) -> None:
        """Add what was counted."""
        self._add(blocks, [msgspec.structs.asdict(one) for one in records])

    def add_evaluations(self, records: Sequence[Evaluation]) -> None:
        """Add what was found."""
        self._add(evaluations, [msgspec.structs.asdict(one) for one in records])

    def add_labels(self, records: Sequence[Label]) -> list[Outcome]:
        """Add what is known to be true. The outcome of each, in order; what was accepted survives whatever happens to the process."""
        rows = candidates(records, self.limits.age_s)
        with self._database.appending() as connection:
            known = known_of(connection, {row for row in rows if not isinstance(row, str)})
            outcomes, accepted = settle(records, rows, known)
            if accepted:
                self._database.insert(connection, labels, [one.row() for one in accepted])
        return outcomes

    def erase(self, prediction: str) -> bool:
        """Forget a prediction: all of its rows, what was asked and what was said about it. False when it was not there.

        In SQLite its bytes are overwritten in the file and its log before this returns, unless somebody is reading at that moment:
        then when rows next expire. PostgreSQL frees them when it vacuums. Neither reaches backups.
        """
        if not is_id(prediction):
            return False
        with self._database.appending() as connection:
            gone = sum(
                connection.execute(delete(table).where(table.c.id == prediction)).rowcount
                for table in (labels, payloads, predictions)
            )
        self._database.tidy()
        return gone > 0

    def expire(self, now: float) -> Erased:
        """Take away some of what is too old or too much at `now`; to be called again while what it returns is true."""
        with self._database.appending() as connection:
            if now - self._counted >= COUNT_SECONDS:
                self._counted, self._newest = now, expiry.surplus(connection, self.limits)
            erased = expiry.step(connection, self.limits, now, self._newest)
        self._database.tidy()
        return erased

    def _add(self, table: Table, rows: Sequence[dict[str, Any]]) -> None:
        if not rows:
            return
        transaction = self._database.appending if "position" in table.c else self._database.writing
        with transaction() as connection:
            self._database.insert(connection, table, rows)


def known_of(connection: Connection, rows: set[Row]) -> dict[Row, Known]:
    """What is known of those of these rows that were predicted."""
    ids = sorted({one for one, _ in rows})
    known: dict[Row, Known] = {}
    for at in range(0, len(ids), MANY):
        part = ids[at : at + MANY]
        made = predictions.c
        for told in connection.execute(
            select(made.id, made.row, made.model, made.version).where(made.id.in_(part))
        ):
            known[told.id, told.row] = Known(told.model, told.version)
        for told in connection.execute(select(labels).where(labels.c.id.in_(part))):
            known[told.id, told.row].add(told.label, told.source, told.observed_at)
    return known
