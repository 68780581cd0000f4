"""What is taken away, because it is too old or too much, a little at a time. It must not know when that is asked for."""

from sqlalchemy import Connection, Table, delete, exists, func, select, tuple_

from service.ledger.records import Erased, Limits
from service.ledger.schema import (
    blocks,
    evaluations,
    first_id,
    labels,
    payloads,
    predictions,
)

STEP = 2000
"""Rows of one table in one step: others wait for the lock only so long."""


def step(connection: Connection, limits: Limits, now: float, newest: str) -> Erased:
    """Take away the oldest rows beyond the limits, and what nobody has labelled and is older than `newest`, from `surplus`.

    Labels go with their predictions: an id tells how old either is.
    """
    oldest = first_id(now - limits.age_s)
    return Erased(
        labels=by_id(connection, labels, oldest),
        predictions=by_id(connection, predictions, oldest) or unlabelled(connection, newest),
        payloads=by_id(
            connection, payloads, first_id(now - min(limits.age_s, limits.payload_age_s))
        )
        or by_size(connection, limits.payload_bytes),
        blocks=by_time(connection, blocks, "ended_at", now - limits.age_s),
        evaluations=by_time(connection, evaluations, "at", now - limits.age_s),
    )


def surplus(connection: Connection, limits: Limits) -> str:
    """The id from which on as many predictions are left as may be kept. It counts them, which takes a while."""
    newest = select(predictions.c.id).order_by(predictions.c.id.desc())
    return connection.execute(newest.offset(limits.rows - 1).limit(1)).scalar() or first_id(0)


def unlabelled(connection: Connection, before: str) -> int:
    """Predictions made before this id that have no label: those with one have cost somebody work, and can be learnt from."""
    bare = ~exists().where(labels.c.id == predictions.c.id)
    part = select(predictions.c.id).where(predictions.c.id < before, bare)
    chosen = part.order_by(predictions.c.id).limit(STEP)
    return connection.execute(delete(predictions).where(predictions.c.id.in_(chosen))).rowcount


def by_id(connection: Connection, table: Table, before: str) -> int:
    """Rows of predictions made before this id."""
    part = select(table.c.id).where(table.c.id < before).order_by(table.c.id).limit(STEP)
    return connection.execute(delete(table).where(table.c.id.in_(part))).rowcount


def by_time(connection: Connection, table: Table, column: str, before: float) -> int:
    """Rows that ended before this time."""
    at = table.c[column]
    part = select(table.c.position).where(at < before).order_by(at).limit(STEP)
    return connection.execute(delete(table).where(table.c.position.in_(part))).rowcount


def by_size(connection: Connection, limit: int) -> int:
    """The oldest payloads, until the rest holds at most `limit` bytes."""
    total = connection.execute(select(func.coalesce(func.sum(payloads.c.size), 0))).scalar_one()
    row = (payloads.c.id, payloads.c.row)
    part = select(*row, payloads.c.size).order_by(*row).limit(STEP)
    last = None
    for id_, number, size in connection.execute(part) if total > limit else ():
        if total <= limit:
            break
        total, last = total - size, (id_, number)
    if last is None:
        return 0
    return connection.execute(delete(payloads).where(tuple_(*row) <= last)).rowcount
