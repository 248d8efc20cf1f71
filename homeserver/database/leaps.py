"""The leap: positions that were shown, then lost with the power, are never given out again.

Writes that need not wait for the disk (typing, presence) take positions that clients get to see at once.
Should the database's machine lose its power, the stream's row is back at a lower position, and what is
published next would be taken for something that clients have seen. So every connection that is opened moves
the stream on, by more than can be lost, before it takes a position.
"""

from collections.abc import Callable

from sqlalchemy import update

from homeserver.database.drivers import Connection, Location
from homeserver.database.statements import Backend, statement
from homeserver.database.tables.stream import stream

LEAP = 10_000

MOST_AT_RISK = LEAP // 4
"""Positions that a thread may give out before a commit waits for the disk; a batch may add some thousands."""

LEAP_AHEAD = statement(update(stream).values(position=stream.c.position + LEAP))


def leap(connection: Connection, backend: Backend) -> None:
    """Move the stream on, durably. Errors: the driver's."""
    compiled = LEAP_AHEAD.compiled(backend)
    try:
        connection.begin_write(durable=True)
        connection.cursor.execute(compiled.sql, compiled.parameters({}))
        connection.commit()
    except BaseException:  # whatever it is: nothing may stay open
        if connection.is_usable():
            connection.rollback()
        raise


def writing_connector(location: Location) -> Callable[[], Connection]:
    """Opens a connection that may take positions. Its errors: `DatabaseError`."""
    connect = location.connector(read_only=False)

    def open_and_leap() -> Connection:
        connection = connect()
        try:
            leap(connection, location.backend)
        except location.driver.error as error:
            connection.close()
            raise location.cannot_open(error) from error
        return connection

    return open_and_leap


def reading_reconnector(location: Location) -> Callable[[], Connection]:
    """Opens a connection for reads in place of one that broke. Its errors: `DatabaseError`.

    PostgreSQL may have lost positions meanwhile, and no writer may have come back to it yet: no reader should
    see the stream go backwards.
    """
    connect = location.connector(read_only=True)

    def reopen() -> Connection:
        connection = connect()
        if location.backend == "postgresql":
            try:
                leap(connection, location.backend)
            except location.driver.error as error:
                # Where nothing can be written (a standby, a full disk) no position is given out either.
                if location.driver.unavailable(error) is None or not connection.is_usable():
                    connection.close()
                    raise location.cannot_open(error) from error
        return connection

    return reopen
