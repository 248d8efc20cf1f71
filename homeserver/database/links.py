"""The connection of one database thread: opened anew when it was lost."""

import time
from collections.abc import Callable

from homeserver.database.drivers import Connection, Driver
from homeserver.database.errors import DatabaseError


class Link:
    """Holds a connection.

    After a failed attempt to open one there is a pause, so that who waits is refused at once.
    """

    PAUSE_S = 1.0

    def __init__(
        self, driver: Driver, connect: Callable[[], Connection], reconnect: Callable[[], Connection]
    ) -> None:
        self._driver = driver
        self._open = connect
        self._reopen = reconnect
        self._connection: Connection | None = None
        self._failed_at = 0.0
        self._failure: DatabaseError | None = None

    @property
    def is_lost(self) -> bool:
        """Whether there is no connection, or a broken one."""
        return self._connection is None or not self._connection.is_usable()

    def get(self) -> Connection:
        """The connection, opened if there is none that can be used. Errors: `DatabaseError`."""
        connection = self._connection
        if connection is not None:
            if connection.is_usable():
                return connection
            self.close()
        if self._failure is not None and time.monotonic() - self._failed_at < self.PAUSE_S:
            raise DatabaseError(str(self._failure))
        try:
            connection = self._open()
        except DatabaseError as error:
            self._failure, self._failed_at = error, time.monotonic()
            raise
        self._connection, self._failure, self._open = connection, None, self._reopen
        return connection

    def roll_back(self) -> None:
        """End the transaction, if there is one, without effect; a connection that refuses is given up."""
        connection = self._connection
        if connection is None:
            return
        try:
            if connection.is_usable():
                connection.rollback()
        except self._driver.error:
            self.close()

    def close(self) -> None:
        """Close the connection; the next `get` opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
