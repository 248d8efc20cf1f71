"""Full-text search; a loop of the server fills it."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

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

NID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the tables, empty."""
    op.create_table(
        "search_texts",
        sa.Column("event_nid", NID, autoincrement=False, nullable=False),
        sa.Column("room_nid", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("terms", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_nid", name=op.f("pk_search_texts")),
    )
    op.create_index("ix_search_texts_room_nid", "search_texts", ["room_nid"])
    op.create_table(
        "search_queue",
        sa.Column("event_nid", NID, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("event_nid", name=op.f("pk_search_queue")),
    )
    op.create_table(
        "search_progress",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_search_progress")),
    )
    for statement in SQLITE_INDEX if op.get_bind().dialect.name == "sqlite" else POSTGRESQL_INDEX:
        op.execute(statement)
