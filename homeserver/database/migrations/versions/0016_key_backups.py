"""Backups of room keys, and dehydrated devices."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add the tables, empty."""
    op.create_table(
        "key_backups",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("backup_nid", sa.BigInteger(), nullable=False),
        sa.Column("algorithm", sa.Text(), nullable=False),
        sa.Column("auth_data", sa.LargeBinary(), nullable=False),
        sa.Column("key_count", sa.BigInteger(), nullable=False),
        sa.Column("etag", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "version", name=op.f("pk_key_backups")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "key_backup_versions",
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("last_version", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_key_backup_versions")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "room_keys",
        sa.Column("backup_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("room_id", sa.Text(), nullable=False),
        sa.Column("session_id", sa.Text(), nullable=False),
        sa.Column("first_message_index", sa.BigInteger(), nullable=False),
        sa.Column("forwarded_count", sa.BigInteger(), nullable=False),
        sa.Column("is_verified", sa.SmallInteger(), nullable=False),
        sa.Column("session_data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("backup_nid", "room_id", "session_id", name=op.f("pk_room_keys")),
    )
    op.create_table(
        "discarded_key_backups",
        sa.Column("backup_nid", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("due_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("backup_nid", name=op.f("pk_discarded_key_backups")),
    )
    op.create_index("ix_discarded_key_backups_due_ts", "discarded_key_backups", ["due_ts"])
