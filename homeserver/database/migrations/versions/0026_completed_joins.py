"""Which rooms have become complete since a position."""

from alembic import op

revision = "0026"
down_revision = "0025"


def upgrade() -> None:
    """Add the index."""
    op.create_index("ix_partial_joins_completed_position", "partial_joins", ["completed_position"])
