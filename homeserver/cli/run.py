"""`homeserver run`: the server."""

import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click
import structlog

from homeserver.app.run import StartError
from homeserver.app.run import run as serve
from homeserver.cli.errors import EXIT_CONFIGURATION
from homeserver.cli.options import config_option
from homeserver.config import Config, checks, load, signing_keys
from homeserver.core.signing import SigningKey
from homeserver.database.drivers import Location
from homeserver.database.errors import DatabaseError
from homeserver.database.schema import HEAD, Schema, state_of
from homeserver.runtime import logs

_log = structlog.get_logger(__name__)


@click.command
@config_option
@click.pass_context
def run(ctx: click.Context, config_path: Path) -> None:
    """Start the server; SIGTERM and Ctrl-C stop it."""
    config = load(config_path)
    checks.check_files(config)
    checks.check_ports(config)
    key = prepare(config, config_path)
    logs.configure(config.log.level, config.log.format)
    try:
        serve(config, key, partial(say_ready, config))
    except StartError as error:
        click.echo(f"homeserver: {error}", err=True)
        ctx.exit(EXIT_CONFIGURATION)


def prepare(config: Config, config_path: Path) -> SigningKey:
    """Bring a database that is empty, or SQLite, up to date; give the signing key, which a new server gets.

    Errors: ConfigError and DatabaseError if the server cannot be started like this.
    """
    location = Location.parse(config.database)
    state, revision = state_of(location)
    # A server that has users has a key, too: if that is lost, a new one must not silently take its place.
    if state is Schema.EMPTY and not config.signing_key_path.exists():
        key = signing_keys.create(config.signing_key_path)
    else:
        key = signing_keys.read(config.signing_key_path)
    if state is Schema.BEHIND and location.backend != "sqlite":
        raise DatabaseError(
            f"database: {location.shown} has schema {revision} and this release needs {HEAD}: "
            f"start homeserver db upgrade --config {config_path}"
        )
    if state is not Schema.CURRENT:
        upgrade(config_path)
    return key


def say_ready(config: Config, ports: Sequence[int]) -> None:
    """Log where the server listens, now that it does."""
    for listener, port in zip(config.listeners, ports, strict=True):
        host = f"[{listener.bind}]" if ":" in listener.bind else listener.bind
        scheme = "https" if listener.tls else "http"
        _log.info("listening", url=f"{scheme}://{host}:{port}", server_name=config.server_name)


def upgrade(config_path: Path) -> None:
    """Apply the migrations in a process of their own, so that alembic's memory is given back."""
    command = [sys.executable, "-m", "homeserver", "db", "upgrade", "--config", str(config_path)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, check=False)  # noqa: S603 - our own program
    if done.returncode != 0:
        # What is wrong, it has said on stderr.
        raise click.exceptions.Exit(done.returncode)
