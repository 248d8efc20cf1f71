"""Bringing the schema up to date, with alembic. Only the command line imports this."""

import sqlite3
from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config

from homeserver.database import migrations
from homeserver.database.drivers import Location
from homeserver.database.errors import DatabaseError
from homeserver.database.schema import HEAD, state_of

_PATIENCE = {"sqlite": {"timeout": 60}, "postgresql": {}}
"""SQLite waits so many seconds for another process that migrates; PostgreSQL waits for its lock in any case."""


def upgrade(location: Location, revision: str = HEAD) -> None:
    """Apply the migrations up to `revision`, all of them or none; what is there already is left alone.

    Errors: `DatabaseError` if the database cannot be opened, is of a later release, or refuses.
    """
    state_of(location)
    if location.backend == "sqlite":
        Path(location.target).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = sqlalchemy.create_engine(engine_url(location), connect_args=_PATIENCE[location.backend])
    if location.backend == "sqlite":
        sqlalchemy.event.listen(engine, "connect", _leave_transactions_alone)
        sqlalchemy.event.listen(engine, "begin", _begin)
    try:
        with engine.begin() as connection:
            if location.backend == "postgresql":
                # Several replicas may start at once; the lock is released with the transaction.
                connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(7236001)"))
            command.upgrade(alembic_config(connection), revision)
    except sqlalchemy.exc.SQLAlchemyError as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise DatabaseError(f"database: {location.shown} could not be upgraded: {reason}") from error
    finally:
        engine.dispose()


def _leave_transactions_alone(connection: sqlite3.Connection, record: object) -> None:
    """Python's driver would begin a transaction only with the first change of rows: after all new tables."""
    del record
    connection.isolation_level = None


def _begin(connection: sqlalchemy.Connection) -> None:
    """One process at a time; another finds the work done."""
    connection.exec_driver_sql("BEGIN IMMEDIATE")


def engine_url(location: Location) -> sqlalchemy.URL:
    """The database as SQLAlchemy's engine wants it named."""
    if location.backend == "sqlite":
        return sqlalchemy.URL.create("sqlite", database=location.target)
    return sqlalchemy.make_url(location.target).set(drivername="postgresql+psycopg")


def alembic_config(connection: sqlalchemy.Connection) -> Config:
    """Alembic's configuration for our migrations on an open connection."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.attributes["connection"] = connection
    return config
