"""Full-text search: the terms of events, and how far the stream has been indexed.

SQLite looks for terms in `search_index`, an FTS5 table that triggers keep in step with `search_texts`; PostgreSQL has a
GIN index for that. The terms are separated by spaces, and hold no other characters that FTS5's tokenizer separates at.
"""

from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Index, SmallInteger, Table, Text, event, text

from homeserver.database.tables.metadata import Nid, metadata

SQLITE_INDEX = (
    """CREATE VIRTUAL TABLE search_index USING fts5(
        terms, content='search_texts', content_rowid='event_nid', tokenize='ascii')""",
    """CREATE TRIGGER search_texts_insert AFTER INSERT ON search_texts BEGIN
        INSERT INTO search_index (rowid, terms) VALUES (new.event_nid, new.terms); END""",
    """CREATE TRIGGER search_texts_delete AFTER DELETE ON search_texts BEGIN
        INSERT INTO search_index (search_index, rowid, terms) VALUES ('delete', old.event_nid, old.terms); END""",
)
POSTGRESQL_INDEX = (
    """CREATE INDEX ix_search_texts_terms ON search_texts
        USING gin (array_to_tsvector(string_to_array(terms, ' ')))""",
)

search_texts = Table(
    "search_texts",
    metadata,
    Column("event_nid", Nid, primary_key=True, autoincrement=False),
    Column("room_nid", BigInteger, nullable=False),
    Column("position", BigInteger, nullable=False),
    # The terms of the event's text (see core.search_terms), with spaces between them.
    Column("terms", Text, nullable=False),
    Index("ix_search_texts_room_nid", "room_nid"),
)

search_queue = Table(
    "search_queue",
    metadata,
    # Events that are to be indexed although the stream does not show them: history that was fetched.
    Column("event_nid", Nid, primary_key=True, autoincrement=False),
)

search_progress = Table(
    "search_progress",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    # Events of the stream up to here have been indexed.
    Column("position", BigInteger, nullable=False),
)


@event.listens_for(search_texts, "after_create")
def _create_index(target: Table, connection: Connection, **_: Any) -> None:
    del target
    for statement in SQLITE_INDEX if connection.dialect.name == "sqlite" else POSTGRESQL_INDEX:
        connection.execute(text(statement))
