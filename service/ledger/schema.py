"""The tables as this version of the code reads and writes them; `migrations` make them. It must not know what is asked of them.

Rows are found by prediction id, and UUIDs of version 7 sort by time: their primary key is also the index by age.
"""

from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Dialect,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)


class PredictionId(TypeDecorator[str]):
    """A UUID as its 16 bytes, which both databases compare from the left."""

    impl = LargeBinary(16)
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> bytes | None:
        return None if value is None else packed(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else unpacked(value)


class Sums(TypeDecorator[dict[str, float]]):
    """Named figures as JSON."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: dict[str, float] | None, dialect: Dialect) -> bytes | None:
        return msgspec.json.encode(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> dict[str, float]:
        return msgspec.json.decode(value, type=dict[str, float])


def packed(text: str) -> bytes:
    """The 16 bytes of a UUID. ValueError when it is none. Three times as fast as the class, on the way of every record."""
    value = bytes.fromhex(text.replace("-", ""))
    if len(value) != 16:
        raise ValueError(f"'{text}' is not a UUID")
    return value


def unpacked(value: bytes) -> str:
    """The text of a UUID, as it is usually written."""
    return str(UUID(bytes=bytes(value)))


def is_id(text: str) -> bool:
    """Whether a prediction can have this id."""
    try:
        return len(packed(text)) == 16
    except ValueError:
        return False


def first_id(at: float) -> str:
    """The smallest id that a prediction made at `at` can have."""
    return str(UUID(int=int(max(0.0, min(at * 1000, LAST_MILLISECOND))) << 80))


def made_at(prediction: str) -> float:
    """When the prediction with this id was made. ValueError when it is no UUID."""
    return int.from_bytes(packed(prediction)[:6]) / 1000


LAST_MILLISECOND = 2.0**48 - 1
POSITION = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts in INTEGER alone. AUTOINCREMENT, so that no position is used again after the last row has gone."""

metadata = MetaData()

predictions = Table(
    "predictions",
    metadata,
    Column("id", PredictionId, primary_key=True),
    Column("row", Integer, primary_key=True, autoincrement=False),
    Column("model", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("at", Double, nullable=False),
    Column("label", Integer, nullable=False),
    Column("confidence", Double, nullable=False),
    Column("share", Double, nullable=False),
    Column("api", Text, nullable=False),
    sqlite_with_rowid=False,
)

payloads = Table(
    "payloads",
    metadata,
    Column("id", PredictionId, primary_key=True),
    Column("row", Integer, primary_key=True, autoincrement=False),
    Column("model", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("at", Double, nullable=False),
    Column("size", Integer, nullable=False),
    Column("share", Double, nullable=False),
    Column("data", LargeBinary, nullable=False),
    # Holds what the size limit sums and the questions by model look for, so that neither reads the data.
    Index("payloads_by_model", "model", "version", "id", "row", "size"),
)

labels = Table(
    "labels",
    metadata,
    Column("position", POSITION, primary_key=True),
    Column("id", PredictionId, nullable=False),
    Column("row", Integer, nullable=False),
    Column("label", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("observed_at", Double, nullable=False),
    Column("received_at", Double, nullable=False),
    Column("model", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("counted", Boolean, nullable=False),
    Column("before", Text),
    UniqueConstraint("id", "row", "source", "observed_at", name="labels_once"),
    Index("labels_by_arrival", "model", "version", "position"),
    sqlite_autoincrement=True,
)

blocks = Table(
    "blocks",
    metadata,
    Column("position", POSITION, primary_key=True),
    Column("model", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("profile", Text, nullable=False),
    Column("machine", Text, nullable=False),
    Column("number", BigInteger, nullable=False),
    Column("begun_at", Double, nullable=False),
    Column("ended_at", Double, nullable=False),
    Column("samples", Integer, nullable=False),
    Column("counts", LargeBinary, nullable=False),
    Column("sums", Sums, nullable=False),
    UniqueConstraint("model", "version", "profile", "machine", "number", name="blocks_once"),
    Index("blocks_by_arrival", "model", "version", "profile", "position"),
    Index("blocks_by_age", "ended_at"),
    sqlite_autoincrement=True,
)

evaluations = Table(
    "evaluations",
    metadata,
    Column("position", POSITION, primary_key=True),
    Column("model", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("profile", Text, nullable=False),
    Column("at", Double, nullable=False),
    Column("n", Integer, nullable=False),
    Column("p", Double, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("signals", LargeBinary, nullable=False),
    UniqueConstraint("model", "version", "profile", "at", "n", name="evaluations_once"),
    Index("evaluations_by_arrival", "model", "version", "position"),
    Index("evaluations_by_age", "at"),
    sqlite_autoincrement=True,
)

jobs = Table(
    "jobs",
    metadata,
    # Ids sort by the time at which they were made.
    Column("id", Text, primary_key=True),
    Column("model", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("number", Integer, nullable=False),
    Column("key", Text),
    # The model while the job is active, nothing otherwise: so no model has two.
    Column("active", Text),
    Column("driver", Text, nullable=False),
    Column("driven_until", Double, nullable=False),
    Column("trained", LargeBinary),
    Column("data", LargeBinary, nullable=False),
    UniqueConstraint("active", name="jobs_one_active"),
    UniqueConstraint("model", "key", name="jobs_once"),
    Index("jobs_by_model", "model", "id"),
)

job_events = Table(
    "job_events",
    metadata,
    Column("job", Text, primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("text", Text, nullable=False),
    Column("data", LargeBinary, nullable=False),
)
