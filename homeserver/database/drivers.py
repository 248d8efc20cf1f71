"""The two databases as one: a connection, what its driver's errors mean, and where the database is."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from homeserver.database.errors import DatabaseError, StorageUnavailable
from homeserver.database.statements import Backend
from homeserver.database.transactions import Cursor

_MODULES: Mapping[Backend, str] = {
    "sqlite": "homeserver.database.sqlite",
    "postgresql": "homeserver.database.postgresql",
}
"""Imported when it is used: the driver of the other database does not weigh on anybody's memory."""


class Connection(Protocol):
    """A held connection of one thread, and its transaction verbs. Their errors: the driver's."""

    @property
    def cursor(self) -> Cursor:
        """Runs statements."""
        ...

    has_savepoints: bool
    """Whether a savepoint costs next to nothing."""

    @property
    def in_transaction(self) -> bool:
        """Whether a transaction is open that can be committed; a failed statement may have ended it."""
        ...

    def begin_read(self) -> None:
        """Begin a transaction that sees one snapshot."""
        ...

    def begin_write(self, *, durable: bool) -> int:
        """Begin a transaction that changes rows, once no other process is in one; gives the stream's position.

        Unless `durable` its commit does not wait for the disk.
        """
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


class Connect(Protocol):
    """Opens a connection. Its errors: the driver's."""

    def __call__(self, target: str, /, *, read_only: bool) -> Connection:
        """Open it."""
        ...


class Driver(msgspec.Struct, frozen=True):
    """How connections of one database are opened, and what their errors mean."""

    connect: Connect
    error: type[Exception]
    """What all of the driver's errors are."""
    no_such_table: type[Exception]
    conflicts: tuple[type[Exception], ...]
    """Errors after which the whole transaction is simply run again."""
    is_temporary: Callable[[Exception], bool]
    """Whether an error tells of a trouble of the machine, not of the statement or the data."""

    def unavailable(self, error: BaseException) -> StorageUnavailable | None:
        """The error as a temporary one, or `None` if it is a bug."""
        if isinstance(error, StorageUnavailable | DatabaseError) or (
            isinstance(error, self.error) and self.is_temporary(error)
        ):
            return StorageUnavailable(" ".join(str(error).split()))
        return None


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

    @property
    def driver(self) -> Driver:
        """The driver of this database."""
        driver: Driver = importlib.import_module(_MODULES[self.backend]).DRIVER
        return driver

    def connector(self, *, read_only: bool) -> Callable[[], Connection]:
        """A function that opens a connection. Its errors: `DatabaseError`."""
        driver = self.driver

        def connect() -> Connection:
            try:
                return driver.connect(self.target, read_only=read_only)
            except driver.error as error:
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
