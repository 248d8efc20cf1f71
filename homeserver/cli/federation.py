"""`homeserver federation`: other servers. It works on the database, whether the server is running or not."""

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
from twisted.internet.defer import Deferred

from homeserver.cli.accounts import MainThread
from homeserver.cli.errors import Refusal
from homeserver.cli.options import config_option
from homeserver.cli.preparation import bring_up_to_date
from homeserver.config import load
from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import ServerName, parse_server_name
from homeserver.database.database import Database
from homeserver.database.drivers import Location
from homeserver.database.errors import StorageUnavailable
from homeserver.services.federation_status import MOST_COUNTED, FederationStatus, ServerStatus

T = TypeVar("T")


@click.group
def federation() -> None:
    """See which other servers do not answer, and try them again."""


@federation.command
@config_option
@click.argument("server", required=False)
def status(config_path: Path, server: str | None) -> None:
    """List the servers that have not been sent everything, or say how SERVER is doing.

    One per line: the name, since when it fails, the next try, the events that it has missed, the last error, with tabs
    between.
    """
    if server is None:
        for each in with_federation(config_path, lambda federation: federation.behind()):
            click.echo(shown(each))
        return
    name = named(server)
    found = with_federation(config_path, lambda federation: federation.of(name))
    if found is None:
        click.echo(f"{name}: nothing is amiss.")
    else:
        click.echo(shown(found))


@federation.command
@config_option
@click.argument("server", required=False)
@click.option("--all", "all_servers", is_flag=True, help="All servers that do not answer.")
def retry(config_path: Path, server: str | None, *, all_servers: bool) -> None:
    """Try SERVER again at once."""
    if (server is None) != all_servers:
        raise Refusal("federation retry: name one SERVER, or say --all")
    if server is None:
        count = with_federation(config_path, lambda federation: federation.retry_all())
        click.echo(f"{count} servers will be tried.")
        return
    name = named(server)
    if with_federation(config_path, lambda federation: federation.retry(name)):
        click.echo(f"{name} will be tried.")
    else:
        click.echo(f"{name} has been sent everything.")


def named(server: str) -> ServerName:
    """The server name that the operator has written. Errors: Refusal."""
    try:
        return parse_server_name(server)
    except InvalidParam as error:
        raise Refusal(f"{server}: {error.message}") from error


def shown(status: ServerStatus) -> str:
    """One line about a server."""
    row = status.destination
    if row.behind_from is None:
        return f"{row.server_name}\tup to date since {moment(row.last_success_ts)}"
    failing = (
        "catching up" if row.failing_since_ts is None else f"failing since {moment(row.failing_since_ts)}"
    )
    retry = "next try now" if row.retry_ts == 0 else f"next try {moment(row.retry_ts)}"
    count = f"{status.missed_events}{'+' if status.missed_events >= MOST_COUNTED else ''} events behind"
    return "\t".join((row.server_name, failing, retry, count, " ".join((row.last_error or "").split())))


def moment(ts: int | None) -> str:
    """A time as the operator reads it."""
    if ts is None:
        return "never"
    return datetime.fromtimestamp(ts / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def with_federation(
    config_path: Path, act: Callable[[FederationStatus], Coroutine[Deferred[Any], Any, T]]
) -> T:
    """Do something with what the server that is configured at `config_path` knows of others.

    Errors: ConfigError, DatabaseError, Refusal.
    """
    location = Location.parse(load(config_path).database)
    bring_up_to_date(location, config_path)
    loop = MainThread()
    # Running processes find a change by themselves within seconds.
    database = Database(location, loop, on_commit=lambda _position, _topics: None, readers=1)
    database.start()
    try:
        return loop.run(act(FederationStatus(database)))
    except StorageUnavailable as error:
        raise Refusal(f"database: {error}: try again") from error
    finally:
        database.stop()
