"""Other servers that are, or have been, hard to reach. A server that has always answered has no row."""

from collections.abc import Collection

import msgspec
from sqlalchemy import bindparam, select, update

from homeserver.core.identifiers import ServerName
from homeserver.database.statements import in_list, statement, upsert
from homeserver.database.tables.federation import destinations
from homeserver.database.transactions import ReadTransaction, WriteTransaction

MAX_ERROR = 500
"""Characters that are kept of what went wrong."""


class Destination(msgspec.Struct, frozen=True):
    """A row: `failures` in a row (0: it answers), the next try at `retry_ts`.

    `behind_from`: everything up to this position has been sent; `None`: nothing is due to it in particular.
    """

    server_name: ServerName
    failures: int
    failing_since_ts: int | None
    retry_ts: int
    behind_from: int | None
    last_success_ts: int | None
    last_error: str | None


_d = destinations.c
_COLUMNS = tuple(destinations.columns)
PUT = upsert(destinations, key=["server_name"], keep=["last_success_ts"])
RECOVERED = statement(
    update(destinations)
    .where(_d.server_name == bindparam("the_server"))
    .values(
        failures=0,
        failing_since_ts=None,
        retry_ts=0,
        behind_from=None,
        last_success_ts=bindparam("now_ts"),
        last_error=None,
    )
)
HASTEN = statement(
    update(destinations)
    .where(_d.server_name == bindparam("the_server"), _d.behind_from.is_not(None), _d.retry_ts > 0)
    .values(retry_ts=0)
)
HASTEN_ALL = statement(
    update(destinations).where(_d.behind_from.is_not(None), _d.retry_ts > 0).values(retry_ts=0)
)
ONE = statement(select(*_COLUMNS).where(_d.server_name == bindparam("server_name")))
BEHIND = statement(select(*_COLUMNS).where(_d.behind_from.is_not(None)).order_by(_d.server_name))
DUE = statement(
    select(_d.server_name)
    .where(_d.behind_from.is_not(None), _d.retry_ts <= bindparam("now_ts"))
    .order_by(_d.retry_ts, _d.server_name)
)
SOME = statement(select(*_COLUMNS).where(in_list(_d.server_name, "server_names")))


def put(tx: WriteTransaction, destination: Destination) -> None:
    """The server is behind; its last success stays as it was noted."""
    error = destination.last_error
    told = None if error is None else error[:MAX_ERROR].replace("\0", "")
    row = msgspec.structs.replace(destination, last_error=told)
    tx.execute(PUT, **msgspec.structs.asdict(row))


def recovered(tx: WriteTransaction, server_name: ServerName, *, now_ts: int) -> None:
    """The server has been sent everything that it had missed."""
    tx.execute(RECOVERED, the_server=server_name, now_ts=now_ts)


def hasten(tx: WriteTransaction, server_name: ServerName) -> bool:
    """Have the server tried at once; whether it was waiting for its time."""
    return tx.execute(HASTEN, the_server=server_name) > 0


def hasten_all(tx: WriteTransaction) -> int:
    """Have all servers tried at once; gives how many were waiting for their time."""
    return tx.execute(HASTEN_ALL)


def of(tx: ReadTransaction, server_name: ServerName) -> Destination | None:
    """The server's row, `None` if there is none."""
    row = tx.one(ONE, server_name=server_name)
    return None if row is None else Destination(*row)


def of_servers(tx: ReadTransaction, server_names: Collection[ServerName]) -> list[Destination]:
    """The rows of those of these servers that have one."""
    return [Destination(*row) for row in tx.all(SOME, server_names=sorted(server_names))]


def behind(tx: ReadTransaction) -> list[Destination]:
    """All servers that have not been sent everything, by name."""
    return [Destination(*row) for row in tx.all(BEHIND)]


def due(tx: ReadTransaction, *, now_ts: int) -> list[ServerName]:
    """The servers that are behind and whose time for the next try has come, the longest waiting first."""
    return [row[0] for row in tx.all(DUE, now_ts=now_ts)]
