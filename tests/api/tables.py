"""Looking into the database of a server."""

from sqlalchemy import func, select

from homeserver.database.statements import statement
from homeserver.database.tables import metadata
from homeserver.database.transactions import ReadTransaction


def count(tx: ReadTransaction, table: str) -> int:
    """How many rows a table has."""
    return int(tx.value(statement(select(func.count()).select_from(metadata.tables[table]))))
