"""`homeserver run`: the server."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click
import structlog

from homeserver.app.run import StartError
from homeserver.app.run import run as serve
from homeserver.cli.errors import Refusal
from homeserver.cli.options import config_option
from homeserver.cli.preparation import bring_up_to_date
from homeserver.config import Config, checks, load, signing_keys
from homeserver.core.signing import SigningKey
from homeserver.database.drivers import Location
from homeserver.database.schema import Schema, state_of
from homeserver.runtime import logs

_log = structlog.get_logger(__name__)


@click.command
@config_option
def run(config_path: Path) -> None:
    """Start the server; SIGTERM and Ctrl-C stop it."""
    config = load(config_path)
    checks.check_files(config)
    checks.check_ports(config)
    key = prepare(config, config_path)
    logs.configure(config.log.level, config.log.format)
    try:
        serve(config, key, partial(say_ready, config))
    except StartError as error:
        raise Refusal(str(error)) from error


def prepare(config: Config, config_path: Path) -> SigningKey:
    """Make the database ready; give the signing key, which a new server gets.

    Errors: ConfigError and DatabaseError if the server cannot be started like this.
    """
    location = Location.parse(config.database)
    # A server that has users has a key, too: if that is lost, a new one must not silently take its place.
    if not config.signing_key_path.exists() and state_of(location)[0] is Schema.EMPTY:
        key = signing_keys.create(config.signing_key_path)
    else:
        key = signing_keys.read(config.signing_key_path)
    bring_up_to_date(location, config_path)
    return key


def say_ready(config: Config, ports: Sequence[int]) -> None:
    """Log where the server listens, now that it does."""
    for listener, port in zip(config.listeners, ports, strict=True):
        host = f"[{listener.bind}]" if ":" in listener.bind else listener.bind
        scheme = "https" if listener.tls else "http"
        _log.info("listening", url=f"{scheme}://{host}:{port}", server_name=config.server_name)
