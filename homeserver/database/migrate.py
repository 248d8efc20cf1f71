"""Bringing the schema up to date, with alembic. Only the command line imports this."""

from pathlib import Path

import sqlalchemy
from alembic import command
from alembic.config import Config

from homeserver.database import migrations
from homeserver.database.drivers import Location
from homeserver.database.errors import DatabaseError
from homeserver.database.schema import HEAD, state_of


def upgrade(location: Location, revision: str = HEAD) -> None:
    """Apply the migrations up to `revision`, each in a transaction; what is there already is left alone.

    Errors: `DatabaseError` if the database cannot be opened, is of a later release, or refuses.
    """
    state_of(location)
    if location.backend == "sqlite":
        Path(location.target).parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = sqlalchemy.create_engine(engine_url(location))
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
