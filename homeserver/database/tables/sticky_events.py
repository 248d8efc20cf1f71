"""Events that stick for a while: the server gets them to clients and to other servers whatever else is going on."""

from sqlalchemy import BigInteger, Column, Index, SmallInteger, Table, Text

from homeserver.database.tables.metadata import Nid, metadata, partial_index

sticky_events = Table(
    "sticky_events",
    metadata,
    Column("event_nid", Nid, primary_key=True, autoincrement=False),
    Column("room_nid", BigInteger, nullable=False),
    Column("sender", Text, nullable=False),
    # 1: of a user of this server, which sends it to servers that come into the room.
    Column("is_own", SmallInteger, nullable=False),
    # Where in the stream clients find it: the event's own position, or where it was shown later. NULL: not yet.
    Column("position", BigInteger),
    # The room's state that has not allowed an event that is not shown: it is looked at again in another one.
    Column("refused_in_root", BigInteger),
    # An event that is not shown is not to be looked at before.
    Column("due_ts", BigInteger, nullable=False),
    # Until then it sticks.
    Column("expires_ts", BigInteger, nullable=False),
    Index("ix_sticky_events_room_nid_position", "room_nid", "position"),
    Index("ix_sticky_events_position", "position"),
    Index("ix_sticky_events_expires_ts", "expires_ts"),
    partial_index("ix_sticky_events_due_ts", "due_ts", where="position IS NULL"),
)
