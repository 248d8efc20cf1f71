"""Connections of the two databases, and how each begins, commits and fails."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from homeserver.database.errors import DatabaseError
from homeserver.database.pq_cursor import PqCursor
from homeserver.database.statements import Backend
from homeserver.database.transactions import Cursor

CONNECT_TIMEOUT_S = 5

BUSY_TIMEOUT_S = 30
"""How long SQLite waits for a command that writes beside the server."""

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


class Connection(Protocol):
    """A held connection of one thread, and its transaction verbs. Their errors: the driver's."""

    @property
    def cursor(self) -> Cursor:
        """Runs statements."""
        ...

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open that can be committed; a failed statement may have ended it."""
        ...

    def begin_read(self) -> None:
        """Begin a transaction that sees one snapshot."""
        ...

    def begin_write(self, *, durable: bool) -> None:
        """Begin a transaction that changes rows; unless `durable` its commit does not wait for the disk."""
        ...

    def commit(self) -> None:
        """Keep the changes."""
        ...

    def rollback(self) -> None:
        """Drop the changes, if a transaction is open."""
        ...

    def is_usable(self) -> bool:
        """Whether the connection is not known to be broken."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


class SqliteConnection:
    """WAL; a commit is on the disk when it returns, unless all of it may be lost (typing, presence)."""

    def __init__(self, path: str, *, read_only: bool) -> None:
        self._connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S
        )
        self.cursor = self._connection.cursor()
        run = self.cursor.execute
        if not read_only:
            run("PRAGMA journal_mode = WAL")
            # Checkpoints are made beside the requests, see `Database.checkpoint`.
            run("PRAGMA wal_autocheckpoint = 0")
            # After a burst the log's file does not stay large for ever.
            run(f"PRAGMA journal_size_limit = {64 * 1024 * 1024}")
        else:
            run("PRAGMA query_only = ON")
        run("PRAGMA synchronous = FULL")
        run("PRAGMA foreign_keys = ON")
        run("PRAGMA temp_store = MEMORY")
        run("PRAGMA cache_size = -8192")
        self._full = True

    @property
    def in_transaction(self) -> bool:
        """Whether there is one to commit."""
        return self._connection.in_transaction

    def begin_read(self) -> None:
        """Begin a read."""
        self.cursor.execute("BEGIN")

    def begin_write(self, *, durable: bool) -> None:
        """Begin a write."""
        if durable != self._full:
            self.cursor.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._full = durable
        self.cursor.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Commit."""
        self.cursor.execute("COMMIT")

    def rollback(self) -> None:
        """Roll back."""
        if self._connection.in_transaction:
            self.cursor.execute("ROLLBACK")

    def is_usable(self) -> bool:
        """Whether statements can be run."""
        return True

    def checkpoint(self) -> int:
        """Move what readers no longer need from the log to the file; gives the log's length in pages."""
        self.cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")
        return int(self.cursor.fetchall()[0][1])

    def restart_log(self) -> None:
        """Move all of the log to the file, and let the next write begin the log anew.

        If a reader stands in the way for longer than a moment, this is left to the next time.
        """
        self.cursor.execute("PRAGMA busy_timeout = 200")
        try:
            self.cursor.execute("PRAGMA wal_checkpoint(RESTART)")
            self.cursor.fetchall()
        finally:
            self.cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")

    def close(self) -> None:
        """Disconnect."""
        self._connection.close()


class PostgresConnection:
    """Reads are REPEATABLE READ, writes READ COMMITTED with row locks."""

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

    def begin_write(self, *, durable: bool) -> None:
        """Begin a write."""
        self.cursor.command(b"BEGIN" if durable else b"BEGIN; SET LOCAL synchronous_commit = off")

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


class Location:
    """Where the database is, from the configuration's URL."""

    def __init__(self, backend: Backend, target: str, shown: str) -> None:
        self.backend: Backend = backend
        self.target = target
        self.shown = shown

    @classmethod
    def parse(cls, url: str) -> "Location":
        """Read `sqlite:///path` or `postgresql://...`. Errors: `DatabaseError`."""
        parts = urlsplit(url)
        if parts.scheme == "sqlite" and not parts.netloc and len(parts.path) > 1:
            path = parts.path[1:]
            return cls("sqlite", path, path)
        if parts.scheme in ("postgresql", "postgres") and len(parts.path) > 1:
            host = parts.hostname or "the local socket"
            return cls("postgresql", url, f"{host}{parts.path}")
        raise DatabaseError(
            f"database: {url!r} is not understood: write sqlite:///PATH or postgresql://USER:PASSWORD@HOST/NAME"
        )

    def connector(self, *, read_only: bool) -> Callable[[], Connection]:
        """A function that opens a connection. Its errors: `DatabaseError`."""

        def connect() -> Connection:
            try:
                if self.backend == "sqlite":
                    return SqliteConnection(self.target, read_only=read_only)
                return PostgresConnection(self.target, read_only=read_only)
            except (sqlite3.Error, psycopg.Error) as error:
                raise self.cannot_open(error) from error

        return connect

    def cannot_open(self, error: Exception) -> DatabaseError:
        """The driver's error as one that names the remedy."""
        reason = " ".join(str(error).split())
        remedy = (
            f"is the folder {Path(self.target).parent} there and writable?"
            if self.backend == "sqlite"
            else "is the server running, and are user, password and database name right?"
        )
        return DatabaseError(f"database: cannot open {self.shown}: {reason}; {remedy}")
