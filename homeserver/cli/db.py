"""`homeserver db`: the database's schema. Alembic is imported here and nowhere else."""

from pathlib import Path

import click

from homeserver.cli.options import config_option
from homeserver.config import load
from homeserver.database import schema
from homeserver.database.drivers import Location
from homeserver.database.migrate import upgrade as apply_migrations


@click.group
def db() -> None:
    """Bring the database's schema up to date."""


@db.command
@config_option
def upgrade(config_path: Path) -> None:
    """Apply the migrations that the database lacks; data is kept.

    `homeserver run` does this by itself with SQLite, and with an empty database.
    """
    location = Location.parse(load(config_path).database)
    _, before = schema.state_of(location)
    apply_migrations(location)
    if before == schema.HEAD:
        click.echo(f"{location.shown}: schema {before} is up to date.")
    else:
        click.echo(f"{location.shown}: schema {schema.HEAD}, was {before or 'empty'}.")


@db.command
@config_option
def status(config_path: Path) -> None:
    """Say which schema the database has, and which one this release needs; exit code 1 if these differ."""
    location = Location.parse(load(config_path).database)
    state, revision = schema.state_of(location)
    match state:
        case schema.Schema.CURRENT:
            click.echo(f"{location.shown}: schema {revision} is up to date.")
        case schema.Schema.EMPTY | schema.Schema.BEHIND:
            click.echo(f"{location.shown}: schema {revision or 'empty'}; db upgrade makes it {schema.HEAD}.")
            click.get_current_context().exit(1)
