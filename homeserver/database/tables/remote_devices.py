"""What other servers are told of devices here, and what is followed of theirs.

The keys themselves, of users here and elsewhere, are in `device_keys` and `cross_signing_keys`.
"""

from sqlalchemy import BigInteger, Column, Index, SmallInteger, Table, Text

from homeserver.database.tables.metadata import metadata, partial_index

device_changes = Table(
    "device_changes",
    metadata,
    # One row a device that a user of this server has or had: its last change. No row for each server, and none for
    # each change.
    Column("user_id", Text, primary_key=True),
    # Empty: the user's cross-signing keys.
    Column("device_id", Text, primary_key=True),
    # The `stream_id` of the EDU.
    Column("position", BigInteger, nullable=False),
    Column("is_deleted", SmallInteger, nullable=False),
    Index("ix_device_changes_position", "position", unique=True),
    sqlite_with_rowid=False,
)

device_change_limits = Table(
    "device_change_limits",
    metadata,
    # Users of whose deleted devices some are forgotten: the last of them that is.
    Column("user_id", Text, primary_key=True),
    Column("forgotten_position", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

device_list_destinations = Table(
    "device_list_destinations",
    metadata,
    # Who has been told of changes: everything of the user up to `position`.
    Column("server_name", Text, primary_key=True),
    Column("user_id", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    # The `stream_id` of the last m.device_list_update, which the next one names as its `prev_id`. 0: there was none.
    Column("stream_id", BigInteger, nullable=False),
    Index("ix_device_list_destinations_user_id", "user_id"),
    sqlite_with_rowid=False,
)

remote_device_lists = Table(
    "remote_device_lists",
    metadata,
    # Users of other servers whose devices have been asked for, because they share a room with somebody here.
    Column("user_id", Text, primary_key=True),
    Column("server_name", Text, nullable=False),
    # What the list that is kept is of; NULL: none is kept.
    Column("stream_id", BigInteger),
    # Where this server's stream was when the list was asked for: it is good for rooms that were shared by then.
    Column("position", BigInteger, nullable=False),
    # Rises with everything that is heard of the user's devices: an answer to what was asked before is no longer good.
    Column("version", BigInteger, nullable=False),
    # When to ask (again), for a list that may be out of date; while a process is at it, no other one takes over before.
    Column("due_ts", BigInteger),
    # How often in a row that was in vain.
    Column("failures", BigInteger, nullable=False),
    partial_index("ix_remote_device_lists_due_ts", "due_ts", where="due_ts IS NOT NULL"),
    partial_index("ix_remote_device_lists_server_name", "server_name", "due_ts", where="due_ts IS NOT NULL"),
    sqlite_with_rowid=False,
)
