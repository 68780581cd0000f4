"""Retrainings and what happened to them."""

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"


def upgrade() -> None:
    """From predictions, payloads, labels, blocks and evaluations."""
    op.create_table(
        "jobs",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("key", sa.Text),
        sa.Column("active", sa.Text),
        sa.Column("driver", sa.Text, nullable=False),
        sa.Column("driven_until", sa.Double, nullable=False),
        sa.Column("trained", sa.LargeBinary),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.UniqueConstraint("active", name="jobs_one_active"),
        sa.UniqueConstraint("model", "key", name="jobs_once"),
    )
    op.create_index("jobs_by_model", "jobs", ["model", "id"])
    op.create_table(
        "job_events",
        sa.Column("job", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("text", sa.Text, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    )
