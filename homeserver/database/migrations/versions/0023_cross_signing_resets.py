"""Who may replace their cross-signing keys."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"


def upgrade() -> None:
    """Add the table, empty."""
    op.create_table(
        "cross_signing_resets",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("until_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_cross_signing_resets")),
        sqlite_with_rowid=False,
    )
