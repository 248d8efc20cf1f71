"""The one collection that all tables belong to; alembic compares it with the migrations."""

from typing import Any

from sqlalchemy import BigInteger, Connection, Index, Integer, MetaData, event, text

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Nid = BigInteger().with_variant(Integer(), "sqlite")
"""The type of a number that is a primary key by itself: in SQLite the row's own number, without an index."""


def partial_index(name: str, *columns: str, where: str) -> Index:
    """An index on the rows `where` only.

    To check the name of PostgreSQL's argument for this, SQLAlchemy would load all that it has for PostgreSQL,
    on SQLite too; so that database is told when tables are made there.
    """
    return Index(name, *columns, sqlite_where=text(where), info={"where": where})


@event.listens_for(metadata, "before_create")
def _tell_postgresql(target: MetaData, connection: Connection, **_: Any) -> None:
    if connection.dialect.name == "postgresql":
        for table in target.tables.values():
            for index in table.indexes:
                if "where" in index.info:
                    index.dialect_kwargs["postgresql_where"] = text(index.info["where"])
