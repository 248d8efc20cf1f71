"""Events that are to be sent later."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the table, empty."""
    op.create_table(
        "delayed_events",
        sa.Column("delay_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("room_id", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("state_key", sa.Text()),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.Column("delay_ms", sa.BigInteger(), nullable=False),
        sa.Column("since_ts", sa.BigInteger(), nullable=False),
        sa.Column("due_ts", sa.BigInteger()),
        sa.Column("leased_until_ts", sa.BigInteger(), nullable=False),
        sa.Column("finalised_ts", sa.BigInteger()),
        sa.Column("event_id", sa.Text()),
        sa.Column("error", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("delay_id", name=op.f("pk_delayed_events")),
    )
    _index("ix_delayed_events_due_ts", "due_ts", where="due_ts IS NOT NULL")
    op.create_index("ix_delayed_events_user_id_due_ts", "delayed_events", ["user_id", "due_ts"])
    finalised = "finalised_ts IS NOT NULL"
    _index("ix_delayed_events_finalised_ts", "finalised_ts", where=finalised)
    _index("ix_delayed_events_user_id_finalised_ts", "user_id", "finalised_ts", where=finalised)


def _index(name: str, *columns: str, where: str) -> None:
    op.create_index(
        name, "delayed_events", list(columns), sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )
