"""Messages to devices: those that wait for devices here, those for devices elsewhere, and what came from there."""

from sqlalchemy import BigInteger, Column, Index, Table, Text

from homeserver.database.tables.metadata import metadata

to_device_messages = Table(
    "to_device_messages",
    metadata,
    # A row until the device has it. Devices of one request share its position.
    Column("user_id", Text, primary_key=True),
    Column("device_id", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("sender", Text, nullable=False),
    # In whose share of the inbox it is, see to_device_shares.
    Column("source", Text, nullable=False),
    # JSON, as the client is shown it.
    Column("message", Text, nullable=False),
    # In bytes.
    Column("size", BigInteger, nullable=False),
    Index("ix_to_device_messages_position", "position"),
    sqlite_with_rowid=False,
)

to_device_shares = Table(
    "to_device_shares",
    metadata,
    # How much of what waits for a device is of whom: of a user here, or of all users of another server. What such a
    # user is allowed beyond the server's share is that user's.
    Column("user_id", Text, primary_key=True),
    Column("device_id", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("messages", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

outbound_to_device = Table(
    "outbound_to_device",
    metadata,
    # A row until the server has it. EDUs for several servers may share a position.
    Column("server_name", Text, primary_key=True),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("sender", Text, nullable=False),
    Column("created_ts", BigInteger, nullable=False),
    # In bytes.
    Column("size", BigInteger, nullable=False),
    # Canonical JSON: the whole EDU.
    Column("edu", Text, nullable=False),
    Index("ix_outbound_to_device_position", "position"),
    Index("ix_outbound_to_device_created_ts", "created_ts"),
    Index("ix_outbound_to_device_sender", "sender", "server_name", "size"),
    sqlite_with_rowid=False,
)

received_to_device = Table(
    "received_to_device",
    metadata,
    # What other servers have sent, so that nothing is taken twice.
    Column("origin", Text, primary_key=True),
    Column("message_id", Text, primary_key=True),
    Column("received_ts", BigInteger, nullable=False),
    Index("ix_received_to_device_received_ts", "received_ts"),
    sqlite_with_rowid=False,
)
