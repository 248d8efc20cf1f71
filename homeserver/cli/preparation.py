"""What a command does to the database before it opens it."""

import subprocess
import sys
from pathlib import Path

import click

from homeserver.database.drivers import Location
from homeserver.database.errors import DatabaseError
from homeserver.database.schema import HEAD, Schema, state_of


def bring_up_to_date(location: Location, config_path: Path) -> Schema:
    """Apply what migrations are lacking, if the database is empty or SQLite; the state in which it was.

    Errors: DatabaseError; click's Exit if the migrations have failed, which has been told then.
    """
    state, revision = state_of(location)
    if state is Schema.BEHIND and location.backend != "sqlite":
        # Other processes may be using it: when to go on is the operator's decision.
        raise DatabaseError(
            f"database: {location.shown} has schema {revision} and this release needs {HEAD}: "
            f"start homeserver db upgrade --config {config_path}"
        )
    if state is not Schema.CURRENT:
        _upgrade(config_path)
    return state


def _upgrade(config_path: Path) -> None:
    """Apply the migrations in a process of their own, so that alembic's memory is given back."""
    command = [sys.executable, "-m", "homeserver", "db", "upgrade", "--config", str(config_path)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)  # noqa: S603 - our own program
    if done.returncode != 0:
        # What is wrong, it has said on stderr.
        raise click.exceptions.Exit(done.returncode)
