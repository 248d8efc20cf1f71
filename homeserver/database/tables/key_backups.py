"""Backups of room keys, encrypted by clients. Spec: client-server API, "Server-side key backups"."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, SmallInteger, Table, Text

from homeserver.database.tables.metadata import metadata

key_backups = Table(
    "key_backups",
    metadata,
    Column("user_id", Text, primary_key=True),
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    # What its keys are found by: another one from when all of them are deleted.
    Column("backup_nid", BigInteger, nullable=False),
    Column("algorithm", Text, nullable=False),
    # JSON object.
    Column("auth_data", LargeBinary, nullable=False),
    # Keys that it has.
    Column("key_count", BigInteger, nullable=False),
    # Rises with every change of its keys.
    Column("etag", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

key_backup_versions = Table(
    "key_backup_versions",
    metadata,
    Column("user_id", Text, primary_key=True),
    # The last one that was given to a backup of the user; that may be gone, and its version comes no more.
    Column("last_version", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# With row IDs: SQLite would have a page of its own for each of these rows otherwise, which are about 1,000 bytes long.
room_keys = Table(
    "room_keys",
    metadata,
    Column("backup_nid", BigInteger, primary_key=True, autoincrement=False),
    Column("room_id", Text, primary_key=True),
    Column("session_id", Text, primary_key=True),
    Column("first_message_index", BigInteger, nullable=False),
    Column("forwarded_count", BigInteger, nullable=False),
    Column("is_verified", SmallInteger, nullable=False),
    # JSON object, encrypted by the client.
    Column("session_data", LargeBinary, nullable=False),
)

discarded_key_backups = Table(
    "discarded_key_backups",
    metadata,
    # No backup has this any more: its keys are being removed.
    Column("backup_nid", BigInteger, primary_key=True, autoincrement=False),
    # While a process is at it, no other one takes over before.
    Column("due_ts", BigInteger, nullable=False),
    Index("ix_discarded_key_backups_due_ts", "due_ts"),
)
