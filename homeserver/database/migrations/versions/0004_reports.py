"""What users report to the administrators."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

NID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table of reports."""
    op.create_table(
        "reports",
        sa.Column("report_nid", NID, autoincrement=False, nullable=False),
        sa.Column("received_ts", sa.BigInteger(), nullable=False),
        sa.Column("reporter", sa.Text(), nullable=False),
        sa.Column("room_id", sa.Text(), nullable=True),
        sa.Column("event_id", sa.Text(), nullable=True),
        sa.Column("user_id", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("report_nid", name=op.f("pk_reports")),
    )
    op.create_index("ix_reports_received_ts", "reports", ["received_ts"], unique=False)
