"""Sticky events."""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"

NID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table, empty."""
    op.create_table(
        "sticky_events",
        sa.Column("event_nid", NID, autoincrement=False, nullable=False),
        sa.Column("room_nid", sa.BigInteger(), nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("is_own", sa.SmallInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.Column("refused_in_root", sa.BigInteger(), nullable=True),
        sa.Column("due_ts", sa.BigInteger(), nullable=False),
        sa.Column("expires_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("event_nid", name=op.f("pk_sticky_events")),
    )
    op.create_index("ix_sticky_events_room_nid_position", "sticky_events", ["room_nid", "position"])
    op.create_index("ix_sticky_events_position", "sticky_events", ["position"])
    op.create_index("ix_sticky_events_expires_ts", "sticky_events", ["expires_ts"])
    waits = sa.text("position IS NULL")
    op.create_index(
        "ix_sticky_events_due_ts", "sticky_events", ["due_ts"], sqlite_where=waits, postgresql_where=waits
    )
    op.add_column("stream", sa.Column("sticky_events", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("delayed_events", sa.Column("sticky_duration_ms", sa.BigInteger(), nullable=True))
