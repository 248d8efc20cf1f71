"""SQLite: how a connection is opened, begins and commits, and what its errors mean."""

import sqlite3
from collections.abc import Sequence
from typing import Any

from homeserver.database.drivers import Driver

BUSY_TIMEOUT_S = 30
"""How long SQLite waits for a command that writes beside the server."""

_TEMPORARY = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
    }
)
"""SQLite's primary codes for troubles of the machine, not of the statement or the file's content."""


class SqliteCursor(sqlite3.Cursor):
    """The driver's cursor, with what PostgreSQL's does in one message."""

    def execute_all(self, statements: Sequence[tuple[str, Any]], /) -> list[list[Any]]:
        """Run statements; gives the rows of each."""
        return [self.execute(sql, parameters).fetchall() for sql, parameters in statements]


class SqliteConnection:
    """WAL; a commit is on the disk when it returns, unless all of it may be lost (typing, presence)."""

    has_savepoints = True

    def __init__(self, path: str, *, read_only: bool) -> None:
        self._connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=BUSY_TIMEOUT_S
        )
        self.cursor = self._connection.cursor(SqliteCursor)
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

    def begin_write(self, *, durable: bool) -> int:
        """Begin a write."""
        if durable != self._full:
            self.cursor.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._full = durable
        self.cursor.execute("BEGIN IMMEDIATE")
        self.cursor.execute("SELECT position FROM stream")
        return int(self.cursor.fetchall()[0][0])

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


def _is_temporary(error: Exception) -> bool:
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _TEMPORARY


DRIVER = Driver(
    connect=SqliteConnection,
    error=sqlite3.Error,
    no_such_table=sqlite3.OperationalError,
    conflicts=(),
    is_temporary=_is_temporary,
)
