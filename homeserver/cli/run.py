"""`homeserver run`: the server."""

import subprocess
import sys
from pathlib import Path

import click

from homeserver.app.run import run as serve
from homeserver.cli.options import config_option
from homeserver.config import Config, checks, load, signing_keys
from homeserver.database.drivers import Location
from homeserver.database.errors import DatabaseError
from homeserver.database.schema import HEAD, Schema, state_of
from homeserver.runtime import logs


@click.command
@config_option
@click.pass_context
def run(ctx: click.Context, config_path: Path) -> None:
    """Start the server; SIGTERM and Ctrl-C stop it."""
    config = load(config_path)
    checks.check_files(config)
    checks.check_ports(config)
    prepare(config, config_path)
    logs.configure(config.log.level, config.log.format)
    ctx.exit(serve(config))


def prepare(config: Config, config_path: Path) -> None:
    """Bring a database that is empty, or SQLite, up to date; a new server gets its signing key.

    Errors: ConfigError and DatabaseError if the server cannot be started like this.
    """
    location = Location.parse(config.database)
    state, revision = state_of(location)
    # A server that has users has a key, too: if that is lost, a new one must not silently take its place.
    if state is Schema.EMPTY and not config.signing_key_path.exists():
        signing_keys.create(config.signing_key_path)
    else:
        signing_keys.read(config.signing_key_path)
    if state is Schema.BEHIND and location.backend != "sqlite":
        raise DatabaseError(
            f"database: {location.shown} has schema {revision} and this release needs {HEAD}: "
            f"start homeserver db upgrade --config {config_path}"
        )
    if state is not Schema.CURRENT:
        upgrade(config_path)


def upgrade(config_path: Path) -> None:
    """Apply the migrations in a process of their own, so that alembic's memory is given back."""
    command = [sys.executable, "-m", "homeserver", "db", "upgrade", "--config", str(config_path)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)  # noqa: S603 - our own program
    if done.returncode != 0:
        # What is wrong, it has said on stderr.
        raise click.exceptions.Exit(done.returncode)
