"""PostgreSQL: how a connection is opened, begins and commits, and what its errors mean."""

from contextlib import suppress

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from homeserver.database.drivers import Driver
from homeserver.database.pq_cursor import PqCursor

CONNECT_TIMEOUT_S = 5

_DEFAULTS: dict[str, str | int | None] = {
    "client_encoding": "UTF8",
    "connect_timeout": CONNECT_TIMEOUT_S,
    # A server that has vanished from the network is noticed within half a minute, not after hours.
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""Options of libpq that the URL may replace."""

_TEMPORARY = (
    "08",  # the connection
    "40",  # rolled back: a deadlock, a conflict; what is left of it after several attempts
    "53",  # disk, memory or connections have run out
    "55P",  # a lock was not to be had
    "57",  # the server shuts down, or a statement took too long
    "58",  # the server's disk or system fails
    "25006",  # read-only: a replica, or about to become one
    "25P03",  # this process was too slow, and was thrown out
)


_BEGIN_DURABLY = b"BEGIN; SELECT position FROM stream FOR UPDATE"
_BEGIN = b"BEGIN; SET LOCAL synchronous_commit = off; SELECT position FROM stream FOR UPDATE"


class PostgresConnection:
    """Reads are REPEATABLE READ; writes are READ COMMITTED, one after the other."""

    has_savepoints = False

    def __init__(self, url: str, *, read_only: bool) -> None:
        options = make_conninfo("", **{**_DEFAULTS, **conninfo_to_dict(url)})
        self._connection = psycopg.connect(options, autocommit=True)
        if self._connection.info.parameter_status("server_encoding") != "UTF8":
            self._connection.close()
            raise psycopg.NotSupportedError("it must have been created with ENCODING 'UTF8'")
        # A process that hangs in the middle of a write holds up all others, who wait for the stream's row.
        idle_s = 60 if read_only else 10
        self._connection.execute("SET statement_timeout = '60s'")
        self._connection.execute(f"SET idle_in_transaction_session_timeout = '{idle_s}s'")
        self._pgconn = self._connection.pgconn
        self.cursor = PqCursor(self._connection)

    @property
    def in_transaction(self) -> bool:
        """Whether there is one to commit."""
        return self._pgconn.transaction_status == TransactionStatus.INTRANS

    def begin_read(self) -> None:
        """Begin a read."""
        self.cursor.command(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def begin_write(self, *, durable: bool) -> int:
        """Begin a write, all in one message; the lock on the stream's row is what other processes wait for."""
        value = self.cursor.command(_BEGIN_DURABLY if durable else _BEGIN)
        if value is None:
            raise psycopg.DataError("the stream has no row")
        return int(value)

    def commit(self) -> None:
        """Commit."""
        self.cursor.command(b"COMMIT")

    def rollback(self) -> None:
        """Roll back."""
        if self._pgconn.transaction_status != TransactionStatus.IDLE:
            self.cursor.command(b"ROLLBACK")

    def is_usable(self) -> bool:
        """Whether statements can be run."""
        return not self._connection.closed

    def close(self) -> None:
        """Disconnect."""
        with suppress(psycopg.Error):
            self._connection.close()


def _is_temporary(error: Exception) -> bool:
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is not None:
        return error.sqlstate.startswith(_TEMPORARY)
    # Without a code it comes from libpq: the connection broke, or was not to be had. Wrong use has other
    # types.
    return type(error) in (psycopg.OperationalError, psycopg.DatabaseError)


DRIVER = Driver(
    connect=PostgresConnection,
    error=psycopg.Error,
    no_such_table=errors.UndefinedTable,
    conflicts=(errors.SerializationFailure, errors.DeadlockDetected),
    is_temporary=_is_temporary,
)
