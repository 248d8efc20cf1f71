"""Where users have last sent something, and what there is in threads."""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    """Add the indexes."""
    sent = sa.text("thread_id IS NULL AND device_id IS NOT NULL")
    op.create_index(
        "ix_events_sent",
        "events",
        ["room_nid", "sender", "position"],
        sqlite_where=sent,
        postgresql_where=sent,
    )
    threaded = sa.text("thread_id IS NOT NULL")
    op.create_index(
        "ix_events_threaded",
        "events",
        ["room_nid", "position"],
        sqlite_where=threaded,
        postgresql_where=threaded,
    )
