"""Connections of the two databases, and how each begins, commits and fails."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import psycopg
from psycopg import errors as pg_errors

from homeserver.database.errors import DatabaseError, StorageUnavailable
from homeserver.database.pq_cursor import PqCursor
from homeserver.database.statements import Backend
from homeserver.database.transactions import Cursor


class Connection(Protocol):
    """A held connection of one thread, and its transaction verbs."""

    cursor: Cursor

    def begin_read(self) -> None: ...
    def begin_write(self, *, durable: bool) -> None: ...
    def commit(self) -> None: ...
    def rollback(self) -> None: ...
    def is_usable(self) -> bool: ...
    def close(self) -> None: ...


class SqliteConnection:
    """WAL; a commit is on the disk when it returns, unless all of it may be lost (typing, presence)."""

    def __init__(self, path: str, *, read_only: bool) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
        self.cursor = self._connection.cursor()
        run = self.cursor.execute
        if not read_only:
            run("PRAGMA journal_mode = WAL")
            # Checkpoints are made beside the requests, see `Database.checkpoint`.
            run("PRAGMA wal_autocheckpoint = 0")
        else:
            run("PRAGMA query_only = ON")
        run("PRAGMA synchronous = FULL")
        run("PRAGMA foreign_keys = ON")
        run("PRAGMA temp_store = MEMORY")
        run("PRAGMA cache_size = -8192")
        self._full = True

    def begin_read(self) -> None:
        self.cursor.execute("BEGIN")

    def begin_write(self, *, durable: bool) -> None:
        if durable != self._full:
            self.cursor.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._full = durable
        self.cursor.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        self.cursor.execute("COMMIT")

    def rollback(self) -> None:
        if self._connection.in_transaction:
            self.cursor.execute("ROLLBACK")

    def is_usable(self) -> bool:
        return True

    def checkpoint(self) -> None:
        """Move what readers no longer need from the write-ahead log to the database file."""
        self.cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")
        self.cursor.fetchall()

    def close(self) -> None:
        self._connection.close()


class PostgresConnection:
    """Reads are REPEATABLE READ, writes READ COMMITTED with row locks."""

    def __init__(self, url: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True, connect_timeout=10)
        self._connection.execute("SET statement_timeout = '60s'")
        self._connection.execute("SET idle_in_transaction_session_timeout = '60s'")
        self.cursor = PqCursor(self._connection)

    def begin_read(self) -> None:
        self.cursor.command(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    def begin_write(self, *, durable: bool) -> None:
        self.cursor.command(b"BEGIN" if durable else b"BEGIN; SET LOCAL synchronous_commit = off")

    def commit(self) -> None:
        self.cursor.command(b"COMMIT")

    def rollback(self) -> None:
        if self._connection.info.transaction_status != psycopg.pq.TransactionStatus.IDLE:
            self.cursor.command(b"ROLLBACK")

    def is_usable(self) -> bool:
        return not self._connection.closed and not self._connection.broken

    def close(self) -> None:
        with suppress(psycopg.Error):
            self._connection.close()


RETRYABLE = (pg_errors.SerializationFailure, pg_errors.DeadlockDetected)
"""Errors after which the whole transaction is simply run again."""

UNAVAILABLE = (sqlite3.OperationalError, psycopg.OperationalError)
"""Errors of the machine (disk full, connection lost, locked), not of the statement's logic."""


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
                return PostgresConnection(self.target)
            except (sqlite3.Error, psycopg.Error) as error:
                reason = " ".join(str(error).split())
                remedy = (
                    f"is the folder {Path(self.target).parent} there and writable?"
                    if self.backend == "sqlite"
                    else "is the server running, and are user, password and database name right?"
                )
                raise DatabaseError(f"database: cannot open {self.shown}: {reason}; {remedy}") from error

        return connect


def unavailable(error: BaseException) -> StorageUnavailable | None:
    """The error as a temporary one, or `None` if it is a bug."""
    if isinstance(error, UNAVAILABLE):
        return StorageUnavailable(" ".join(str(error).split()))
    return None
