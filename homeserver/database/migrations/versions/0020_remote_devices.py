"""What is followed of other servers' devices, and what they have been told of ours."""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    """Add the tables, empty, and an index that finds the users of this server in a room."""
    op.create_table(
        "device_changes",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("device_id", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("is_deleted", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "device_id", name=op.f("pk_device_changes")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_device_changes_position", "device_changes", ["position"], unique=True)
    op.create_table(
        "device_change_limits",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("forgotten_position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_device_change_limits")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "device_list_destinations",
        sa.Column("server_name", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("stream_id", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("server_name", "user_id", name=op.f("pk_device_list_destinations")),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_device_list_destinations_user_id", "device_list_destinations", ["user_id"])
    op.create_table(
        "remote_device_lists",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("server_name", sa.Text(), nullable=False),
        sa.Column("stream_id", sa.BigInteger()),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("due_ts", sa.BigInteger()),
        sa.Column("failures", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_remote_device_lists")),
        sqlite_with_rowid=False,
    )
    due = "due_ts IS NOT NULL"
    _index("ix_remote_device_lists_due_ts", "remote_device_lists", "due_ts", where=due)
    _index("ix_remote_device_lists_server_name", "remote_device_lists", "server_name", "due_ts", where=due)
    local = "is_local = 1 AND membership = 'join'"
    _index("ix_memberships_is_local", "memberships", "room_nid", "since_position", where=local)


def _index(name: str, table: str, *columns: str, where: str) -> None:
    op.create_index(name, table, list(columns), sqlite_where=sa.text(where), postgresql_where=sa.text(where))
