"""Receipts that wait are found by the events that they wait for."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add the index."""
    op.create_index("ix_awaited_receipts_event_id", "awaited_receipts", ["event_id"])
