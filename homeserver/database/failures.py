"""Which of the drivers' errors mean what: try again, not now, or a bug."""

import sqlite3

import psycopg
from psycopg import errors as pg_errors

from homeserver.database.errors import DatabaseError, StorageUnavailable

RETRYABLE = (pg_errors.SerializationFailure, pg_errors.DeadlockDetected)
"""Errors after which the whole transaction is simply run again."""

_SQLITE = frozenset(
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

_POSTGRES_CLASSES = (
    "08",  # the connection
    "40",  # rolled back: a deadlock, a conflict; what is left of it after several attempts
    "53",  # disk, memory or connections have run out
    "55P",  # a lock was not to be had
    "57",  # the server shuts down, or a statement took too long
    "58",  # the server's disk or system fails
    "25006",  # read-only: a replica, or about to become one
    "25P03",  # this process was too slow, and was thrown out
)


def unavailable(error: BaseException) -> StorageUnavailable | None:
    """The error as a temporary one, or `None` if it is a bug."""
    if isinstance(error, StorageUnavailable | DatabaseError) or _is_temporary(error):
        return StorageUnavailable(" ".join(str(error).split()))
    return None


def _is_temporary(error: BaseException) -> bool:
    if isinstance(error, sqlite3.Error):
        return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _SQLITE
    if not isinstance(error, psycopg.Error):
        return False
    if error.sqlstate is not None:
        return error.sqlstate.startswith(_POSTGRES_CLASSES)
    # Without a code it comes from libpq: the connection broke, or was not to be had. Wrong use has other
    # types.
    return type(error) in (psycopg.OperationalError, psycopg.DatabaseError)
