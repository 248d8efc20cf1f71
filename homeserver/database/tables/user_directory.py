"""The user directory: what users are found by, which rooms are open to all, and how far the stream has been read.

As with search, SQLite looks for terms in an FTS5 table, `directory_index`, that triggers keep in step with
`directory_users`; PostgreSQL has a GIN index. Both know the beginnings of terms, too.
"""

from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Index, SmallInteger, Table, Text, event, text

from homeserver.database.tables.metadata import Nid, metadata

SQLITE_INDEX = (
    """CREATE VIRTUAL TABLE directory_index USING fts5(
        terms, content='directory_users', content_rowid='user_nid', tokenize='ascii', prefix='1 2 3')""",
    """CREATE TRIGGER directory_users_insert AFTER INSERT ON directory_users BEGIN
        INSERT INTO directory_index (rowid, terms) VALUES (new.user_nid, new.terms); END""",
    """CREATE TRIGGER directory_users_update AFTER UPDATE OF terms ON directory_users BEGIN
        INSERT INTO directory_index (directory_index, rowid, terms) VALUES ('delete', old.user_nid, old.terms);
        INSERT INTO directory_index (rowid, terms) VALUES (new.user_nid, new.terms); END""",
    """CREATE TRIGGER directory_users_delete AFTER DELETE ON directory_users BEGIN
        INSERT INTO directory_index (directory_index, rowid, terms) VALUES ('delete', old.user_nid, old.terms);
        END""",
)
POSTGRESQL_INDEX = (
    """CREATE INDEX ix_directory_users_terms ON directory_users
        USING gin (array_to_tsvector(string_to_array(terms, ' ')))""",
)

BytewiseText = Text().with_variant(Text(collation="C"), "postgresql")
"""Sorted by its bytes, whatever PostgreSQL's order of letters is."""

directory_users = Table(
    "directory_users",
    metadata,
    Column("user_nid", Nid, primary_key=True, autoincrement=False),
    Column("user_id", Text, nullable=False, unique=True),
    Column("is_local", SmallInteger, nullable=False),
    # 1: in a room that is open to all, or was so a moment ago.
    Column("is_open", SmallInteger, nullable=False),
    # The user ID without case, see core.person_names.
    Column("folded_id", BytewiseText, nullable=False),
    # The display name without case and accents; NULL: there is none, or the rooms have several.
    Column("folded_name", Text),
    # The terms of the user ID and of the name, or of all the names, with spaces between them.
    Column("terms", Text, nullable=False),
    Index("ix_directory_users_folded_id", "folded_id"),
    Index("ix_directory_users_folded_name", "folded_name"),
)

directory_rooms = Table(
    "directory_rooms",
    metadata,
    # Rooms that anybody may join or read: everybody may know their members.
    Column("room_nid", Nid, primary_key=True, autoincrement=False),
)

directory_scans = Table(
    "directory_scans",
    metadata,
    # Rooms whose members are to be looked at, as far as they have changed after a position.
    Column("scan_nid", Nid, primary_key=True, autoincrement=False),
    Column("room_nid", BigInteger, nullable=False),
    Column("since_position", BigInteger, nullable=False),
    # Those up to here have been looked at.
    Column("after_user", Text, nullable=False),
)

directory_progress = Table(
    "directory_progress",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    # Counts the steps: who takes the next one has seen the last.
    Column("steps", BigInteger, nullable=False),
    # Events of the stream up to here have been looked at.
    Column("position", BigInteger, nullable=False),
    # Now and then everything is looked at anew: which things are, and up to which one. NULL: all have been.
    Column("phase", Text),
    Column("after", Text, nullable=False),
    Column("begun_ts", BigInteger, nullable=False),
)


@event.listens_for(directory_users, "after_create")
def _create_index(target: Table, connection: Connection, **_: Any) -> None:
    del target
    for statement in SQLITE_INDEX if connection.dialect.name == "sqlite" else POSTGRESQL_INDEX:
        connection.execute(text(statement))
