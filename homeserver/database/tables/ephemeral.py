"""Receipts, typing and presence."""

from sqlalchemy import BigInteger, Column, Index, SmallInteger, Table, Text

from homeserver.database.tables.metadata import metadata, partial_index

receipts = Table(
    "receipts",
    metadata,
    Column("room_nid", BigInteger, primary_key=True, autoincrement=False),
    Column("user_id", Text, primary_key=True),
    Column("receipt_type", Text, primary_key=True),
    # Empty: unthreaded; else `main` or the root event of the thread.
    Column("thread_id", Text, primary_key=True),
    Column("event_id", Text, nullable=False),
    # Where that event stands in the timeline (negative in fetched history): a receipt only moves forward.
    Column("event_position", BigInteger, nullable=False),
    Column("ts", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Index("ix_receipts_room_nid_position", "room_nid", "position"),
    Index("ix_receipts_position", "position"),
    sqlite_with_rowid=False,
)

awaited_receipts = Table(
    "awaited_receipts",
    metadata,
    # Receipts of users of other servers for events that have not arrived yet.
    Column("room_nid", BigInteger, primary_key=True, autoincrement=False),
    Column("user_id", Text, primary_key=True),
    Column("thread_id", Text, primary_key=True),
    Column("receipt_type", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("ts", BigInteger, nullable=False),
    # The user's server.
    Column("origin", Text, nullable=False),
    Column("received_ts", BigInteger, nullable=False),
    Index("ix_awaited_receipts_origin", "origin", "received_ts"),
    Index("ix_awaited_receipts_received_ts", "received_ts"),
    Index("ix_awaited_receipts_event_id", "event_id"),
    sqlite_with_rowid=False,
)

typing = Table(
    "typing",
    metadata,
    Column("room_nid", BigInteger, primary_key=True, autoincrement=False),
    Column("user_id", Text, primary_key=True),
    # When it ends by itself; negative: has stopped, at that moment.
    Column("expires_ts", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    Index("ix_typing_position", "position"),
    Index("ix_typing_expires_ts", "expires_ts"),
    sqlite_with_rowid=False,
)

presence = Table(
    "presence",
    metadata,
    # What others see of a user: for users of this server, the best of the user's devices.
    Column("user_id", Text, primary_key=True),
    # online, unavailable or offline
    Column("presence", Text, nullable=False),
    Column("status_msg", Text),
    # 0: never.
    Column("last_active_ts", BigInteger, nullable=False),
    Column("currently_active", SmallInteger, nullable=False),
    # Of users of other servers: when they count as offline unless they are heard of again. NULL: never.
    Column("expires_ts", BigInteger),
    Column("position", BigInteger, nullable=False),
    Index("ix_presence_position", "position"),
    partial_index("ix_presence_expires_ts", "expires_ts", where="expires_ts IS NOT NULL"),
)

device_presence = Table(
    "device_presence",
    metadata,
    # A row while the device is there.
    Column("user_id", Text, primary_key=True),
    # Empty: an application service that names none.
    Column("device_id", Text, primary_key=True),
    # What its client says: online or unavailable.
    Column("presence", Text, nullable=False),
    Column("last_active_ts", BigInteger, nullable=False),
    # When it is gone, unless it is heard of again.
    Column("expires_ts", BigInteger, nullable=False),
    # When time alone changes what it counts as: idle or gone.
    Column("changes_ts", BigInteger, nullable=False),
    Index("ix_device_presence_changes_ts", "changes_ts"),
    sqlite_with_rowid=False,
)
