"""The user directory; a loop of the server fills it."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

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

NID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
BYTEWISE = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    """Add the tables, empty."""
    op.create_table(
        "directory_users",
        sa.Column("user_nid", NID, autoincrement=False, nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("is_local", sa.SmallInteger(), nullable=False),
        sa.Column("is_open", sa.SmallInteger(), nullable=False),
        sa.Column("folded_id", BYTEWISE, nullable=False),
        sa.Column("folded_name", sa.Text(), nullable=True),
        sa.Column("terms", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("user_nid", name=op.f("pk_directory_users")),
        sa.UniqueConstraint("user_id", name=op.f("uq_directory_users_user_id")),
    )
    op.create_index("ix_directory_users_folded_id", "directory_users", ["folded_id"])
    op.create_index("ix_directory_users_folded_name", "directory_users", ["folded_name"])
    op.create_table(
        "directory_rooms",
        sa.Column("room_nid", NID, autoincrement=False, nullable=False),
        sa.PrimaryKeyConstraint("room_nid", name=op.f("pk_directory_rooms")),
    )
    op.create_table(
        "directory_scans",
        sa.Column("scan_nid", NID, autoincrement=False, nullable=False),
        sa.Column("room_nid", sa.BigInteger(), nullable=False),
        sa.Column("since_position", sa.BigInteger(), nullable=False),
        sa.Column("after_user", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("scan_nid", name=op.f("pk_directory_scans")),
    )
    op.create_table(
        "directory_progress",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("steps", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("phase", sa.Text(), nullable=True),
        sa.Column("after", sa.Text(), nullable=False),
        sa.Column("begun_ts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_directory_progress")),
    )
    for statement in SQLITE_INDEX if op.get_bind().dialect.name == "sqlite" else POSTGRESQL_INDEX:
        op.execute(statement)
