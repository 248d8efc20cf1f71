"""`homeserver federation`: other servers. It works on the database, whether the server is running or not."""

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import click
from twisted.internet.defer import Deferred

from homeserver.cli.databases import moment, with_database
from homeserver.cli.errors import Refusal
from homeserver.cli.options import config_option
from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import ServerName, parse_server_name
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
        return f"{row.server_name}\tup to date since {time_of(row.last_success_ts)}"
    failing = (
        "catching up" if row.failing_since_ts is None else f"failing since {moment(row.failing_since_ts)}"
    )
    retry = "next try now" if row.retry_ts == 0 else f"next try {moment(row.retry_ts)}"
    count = f"{status.missed_events}{'+' if status.missed_events >= MOST_COUNTED else ''} events behind"
    return "\t".join((row.server_name, failing, retry, count, " ".join((row.last_error or "").split())))


def time_of(ts: int | None) -> str:
    """The time of something that may never have been."""
    return "never" if ts is None else moment(ts)


def with_federation(
    config_path: Path, act: Callable[[FederationStatus], Coroutine[Deferred[Any], Any, T]]
) -> T:
    """Do something with what the server that is configured at `config_path` knows of others.

    Errors: ConfigError, DatabaseError, Refusal.
    """
    return with_database(config_path, lambda database: act(FederationStatus(database)))
