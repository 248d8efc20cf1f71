"""Sliding sync, thread subscriptions, and where something last went on in a room."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

NID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables, empty, and look for the last activity of each room."""
    op.create_table(
        "sliding_connections",
        sa.Column("connection_nid", NID, autoincrement=False, nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("conn_id", sa.Text(), nullable=False),
        sa.Column("used_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("connection_nid", name=op.f("pk_sliding_connections")),
    )
    op.create_index(
        "uq_sliding_connections_conn_id",
        "sliding_connections",
        ["user_id", "device_id", "conn_id"],
        unique=True,
    )
    op.create_index("ix_sliding_connections_used_ts", "sliding_connections", ["used_ts"])
    op.create_table(
        "sliding_steps",
        sa.Column("connection_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("step_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("parent_nid", sa.BigInteger(), nullable=False),
        sa.Column("base_nid", sa.BigInteger(), nullable=False),
        sa.Column("made_ts", sa.BigInteger(), nullable=False),
        sa.Column("told", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("connection_nid", "step_nid", name=op.f("pk_sliding_steps")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "thread_subscriptions",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("room_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root_id", sa.Text(), nullable=False),
        sa.Column("subscribed", sa.SmallInteger(), nullable=False),
        sa.Column("automatic", sa.SmallInteger(), nullable=False),
        sa.Column("unsubscribed_position", sa.BigInteger(), nullable=True),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "room_nid", "root_id", name=op.f("pk_thread_subscriptions")),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "ix_thread_subscriptions_user_id_position", "thread_subscriptions", ["user_id", "position"]
    )
    op.create_index("ix_thread_subscriptions_position", "thread_subscriptions", ["position"])
    op.create_index("ix_thread_subscriptions_room_nid", "thread_subscriptions", ["room_nid"])
    op.add_column(
        "stream", sa.Column("thread_subscriptions", sa.BigInteger(), nullable=False, server_default="0")
    )
    op.add_column("rooms", sa.Column("bump_position", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute(
        "UPDATE rooms SET bump_position = coalesce((SELECT position FROM events "
        "WHERE events.room_nid = rooms.room_nid AND position > 0 AND status = 0 AND type IN ("
        "'m.room.create', 'm.room.message', 'm.room.encrypted', 'm.sticker', 'm.call.invite', "
        "'m.poll.start', 'm.beacon_info') ORDER BY position DESC LIMIT 1), 0)"
    )
