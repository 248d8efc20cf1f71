"""Connections of sliding sync, and what their clients have been told."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, Table, Text

from homeserver.database.tables.metadata import Nid, metadata

sliding_connections = Table(
    "sliding_connections",
    metadata,
    Column("connection_nid", Nid, primary_key=True, autoincrement=False),
    Column("user_id", Text, nullable=False),
    # Empty: an application service that names none.
    Column("device_id", Text, nullable=False),
    # As the client calls it; empty: it does not.
    Column("conn_id", Text, nullable=False),
    # When it was last heard of, to the hour.
    Column("used_ts", BigInteger, nullable=False),
    Index("uq_sliding_connections_conn_id", "user_id", "device_id", "conn_id", unique=True),
    Index("ix_sliding_connections_used_ts", "used_ts"),
)

sliding_steps = Table(
    "sliding_steps",
    metadata,
    # What a client has been told that has got the token with this step. Rows never change.
    Column("connection_nid", BigInteger, primary_key=True, autoincrement=False),
    Column("step_nid", BigInteger, primary_key=True, autoincrement=False),
    # The step of the request that was answered; 0 for the first one.
    Column("parent_nid", BigInteger, nullable=False),
    # The step that `told` differs from, itself if `told` is complete.
    Column("base_nid", BigInteger, nullable=False),
    Column("made_ts", BigInteger, nullable=False),
    # MessagePack, see core.sliding_sync.told.
    Column("told", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
