"""Which schema the database has, and which this release needs; alembic stays out of the server process."""

import enum
from pathlib import Path

from homeserver.database.drivers import Location
from homeserver.database.errors import DatabaseError

REVISIONS = (
    "0001",
    "0002",
    "0003",
    "0004",
    "0005",
    "0006",
    "0007",
    "0008",
    "0009",
    "0010",
    "0011",
    "0012",
    "0013",
    "0014",
    "0015",
    "0016",
    "0017",
    "0018",
    "0019",
    "0020",
    "0021",
    "0022",
    "0023",
    "0024",
    "0025",
    "0026",
)
"""The migrations of this release, oldest first; a test holds them against the folder."""

HEAD = REVISIONS[-1]


class Schema(enum.Enum):
    """How the database's schema stands to this release."""

    EMPTY = "empty"
    BEHIND = "behind"
    CURRENT = "current"


def state_of(location: Location) -> tuple[Schema, str | None]:
    """How the schema stands, and its revision (`None`: there is none).

    Errors: `DatabaseError` if the database cannot be opened, or is of a later release.
    """
    revision = _revision(location)
    if revision is None:
        return Schema.EMPTY, None
    if revision not in REVISIONS:
        raise DatabaseError(
            f"database: {location.shown} has schema {revision}, which this release does not know "
            f"(it knows up to {HEAD}): start the newer release that made it, or restore a backup"
        )
    return (Schema.CURRENT if revision == HEAD else Schema.BEHIND), revision


def _revision(location: Location) -> str | None:
    if location.backend == "sqlite" and not Path(location.target).exists():
        return None
    connection = location.connector(read_only=location.backend == "sqlite")()
    try:
        connection.cursor.execute("SELECT version_num FROM alembic_version")
        row = connection.cursor.fetchone()
    except location.driver.no_such_table:
        return None
    except location.driver.error as error:
        reason = " ".join(str(error).split())
        raise DatabaseError(f"database: {location.shown} cannot be read: {reason}") from error
    finally:
        connection.close()
    return None if row is None else str(row[0])
