"""Messages to devices."""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"


def upgrade() -> None:
    """Add the tables, empty."""
    op.create_table(
        "to_device_messages",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "device_id", "position", name=op.f("pk_to_device_messages")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_to_device_messages_position", "to_device_messages", ["position"])
    op.create_table(
        "to_device_shares",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("messages", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "device_id", "source", name=op.f("pk_to_device_shares")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "outbound_to_device",
        sa.Column("server_name", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("sender", sa.Text(), nullable=False),
        sa.Column("created_ts", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("edu", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("server_name", "position", name=op.f("pk_outbound_to_device")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_outbound_to_device_position", "outbound_to_device", ["position"])
    op.create_index("ix_outbound_to_device_created_ts", "outbound_to_device", ["created_ts"])
    op.create_index("ix_outbound_to_device_sender", "outbound_to_device", ["sender", "server_name", "size"])
    op.create_table(
        "received_to_device",
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("message_id", sa.Text(), nullable=False),
        sa.Column("received_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("origin", "message_id", name=op.f("pk_received_to_device")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_received_to_device_received_ts", "received_to_device", ["received_ts"])
