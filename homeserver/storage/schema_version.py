"""The revision of the schema, as alembic keeps it."""

from sqlalchemy import column, select, table

from homeserver.database.statements import statement
from homeserver.database.transactions import ReadTransaction

REVISION = statement(select(column("version_num")).select_from(table("alembic_version")))


def revision(tx: ReadTransaction) -> str | None:
    """Which migration the database is at."""
    found: str | None = tx.value(REVISION)
    return found
