"""Unread counts: who is notified of an event, beyond what the event's own `notify` column says."""

from sqlalchemy import BigInteger, Column, Index, SmallInteger, Table, Text

from homeserver.database.tables.metadata import metadata

push_outcomes = Table(
    "push_outcomes",
    metadata,
    # A row only where a member's outcome differs from the event's `notify`.
    Column("user_id", Text, primary_key=True),
    Column("room_nid", BigInteger, primary_key=True, autoincrement=False),
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("notify", SmallInteger, nullable=False),
    Index("ix_push_outcomes_position", "position"),
    sqlite_with_rowid=False,
)
