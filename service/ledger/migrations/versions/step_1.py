"""Predictions, payloads, labels, blocks and evaluations."""

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None

POSITION = sa.BigInteger().with_variant(sa.Integer, "sqlite")
ID = sa.LargeBinary(16)


def upgrade() -> None:
    """From nothing."""
    op.create_table(
        "predictions",
        sa.Column("id", ID, primary_key=True),
        sa.Column("row", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("label", sa.Integer, nullable=False),
        sa.Column("confidence", sa.Double, nullable=False),
        sa.Column("share", sa.Double, nullable=False),
        sa.Column("api", sa.Text, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "payloads",
        sa.Column("id", ID, primary_key=True),
        sa.Column("row", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("share", sa.Double, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
    by_model = ["model", "version", "id", "row", "size"]
    op.create_index("payloads_by_model", "payloads", by_model)
    labels()
    blocks()
    evaluations()


def labels() -> None:
    """What people said."""
    op.create_table(
        "labels",
        sa.Column("position", POSITION, primary_key=True),
        sa.Column("id", ID, nullable=False),
        sa.Column("row", sa.Integer, nullable=False),
        sa.Column("label", sa.Text, nullable=False),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("observed_at", sa.Double, nullable=False),
        sa.Column("received_at", sa.Double, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("counted", sa.Boolean, nullable=False),
        sa.Column("before", sa.Text),
        sa.UniqueConstraint("id", "row", "source", "observed_at", name="labels_once"),
        sqlite_autoincrement=True,
    )
    op.create_index("labels_by_arrival", "labels", ["model", "version", "position"])


def blocks() -> None:
    """What was counted."""
    op.create_table(
        "blocks",
        sa.Column("position", POSITION, primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("profile", sa.Text, nullable=False),
        sa.Column("machine", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("begun_at", sa.Double, nullable=False),
        sa.Column("ended_at", sa.Double, nullable=False),
        sa.Column("samples", sa.Integer, nullable=False),
        sa.Column("counts", sa.LargeBinary, nullable=False),
        sa.Column("sums", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("model", "version", "profile", "machine", "number", name="blocks_once"),
        sqlite_autoincrement=True,
    )
    of = ["model", "version", "profile"]
    op.create_index("blocks_by_arrival", "blocks", [*of, "position"])
    op.create_index("blocks_by_age", "blocks", ["ended_at"])


def evaluations() -> None:
    """What was found."""
    op.create_table(
        "evaluations",
        sa.Column("position", POSITION, primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("profile", sa.Text, nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("n", sa.Integer, nullable=False),
        sa.Column("p", sa.Double, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("signals", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("model", "version", "profile", "at", "n", name="evaluations_once"),
        sqlite_autoincrement=True,
    )
    op.create_index("evaluations_by_arrival", "evaluations", ["model", "version", "position"])
    op.create_index("evaluations_by_age", "evaluations", ["at"])
