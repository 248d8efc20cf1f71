"""SQLite's write-ahead log: folded into the file beside the requests, and begun anew before it grows long."""

import sqlite3
import threading

from homeserver.database.drivers import Location
from homeserver.database.errors import DatabaseError
from homeserver.database.links import Link
from homeserver.database.sqlite import SqliteConnection


class LogLength:
    """Tells the writer when the log is to be begun anew.

    The log's frames can be moved to the file while others write, but the log begins anew only if a writer
    finds all of them moved. Under steady load that never happens by itself, so the writer moves the last
    ones, between two transactions.
    """

    LONG = 4_000
    """Pages: 16 MB."""

    def __init__(self) -> None:
        self._is_long = threading.Event()

    def note(self, pages: int) -> None:
        """How long the log was found to be."""
        if pages > self.LONG:
            self._is_long.set()

    def shorten(self, link: Link) -> None:
        """Begin the log anew if it is long; for the writer, between two transactions."""
        if not self._is_long.is_set():
            return
        self._is_long.clear()
        try:
            connection = link.get()
            if isinstance(connection, SqliteConnection):
                connection.restart_log()
        except (DatabaseError, sqlite3.Error):
            # The next checkpoint meets the same trouble, and its caller is told.
            return


def checkpoint(location: Location, log_length: LogLength) -> None:
    """Move what readers no longer need from the log to the file; blocks. Errors: StorageUnavailable."""
    try:
        connection = location.connector(read_only=False)()
        try:
            if isinstance(connection, SqliteConnection):
                log_length.note(connection.checkpoint())
        finally:
            connection.close()
    except (DatabaseError, sqlite3.Error) as error:
        raise location.driver.unavailable(error) or error from error
