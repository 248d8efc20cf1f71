"""Which events relate to which: children by their parents, which this server may lack, and threads by their roots."""

from sqlalchemy import BigInteger, Column, Index, LargeBinary, SmallInteger, Table, Text

from homeserver.database.tables.metadata import metadata

relations = Table(
    "relations",
    metadata,
    # A row for each event of the timeline that clients see and that names a parent in `m.relates_to`; a redaction of
    # the child removes it.
    Column("room_nid", BigInteger, primary_key=True, autoincrement=False),
    Column("parent_id", Text, primary_key=True),
    Column("rel_type", Text, primary_key=True),
    # The child's, as in `events`.
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("sender", Text, nullable=False),
    Column("origin_server_ts", BigInteger, nullable=False),
    # 0: a replacement that can replace nothing, whatever its parent is.
    Column("is_sound", SmallInteger, nullable=False),
    # Of an annotation: what is the same for the same key.
    Column("annotation_key", LargeBinary),
    # All children in their order, and those of a sender: duplicates, participation, the latest edit.
    Index("ix_relations_position", "room_nid", "parent_id", "position"),
    Index("ix_relations_sender", "room_nid", "parent_id", "sender", "rel_type", "origin_server_ts"),
    sqlite_with_rowid=False,
)

threads = Table(
    "threads",
    metadata,
    # What `relations` has of each thread: how many events, between which positions.
    Column("room_nid", BigInteger, primary_key=True, autoincrement=False),
    Column("root_id", Text, primary_key=True),
    Column("replies", BigInteger, nullable=False),
    Column("first_position", BigInteger, nullable=False),
    Column("last_position", BigInteger, nullable=False),
    Index("ix_threads_last_position", "room_nid", "last_position"),
    sqlite_with_rowid=False,
)
