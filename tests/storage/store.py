"""A database for tests of `storage`: transaction functions run in the test's own thread, one at a time."""

import contextlib
import functools
import os
import sqlite3
from collections.abc import Callable, Iterator
from typing import Concatenate, ParamSpec, TypeVar

import psycopg
from sqlalchemy import create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from homeserver.database.kinds import Kind
from homeserver.database.numbers import NumberPool
from homeserver.database.pq_cursor import PqCursor
from homeserver.database.sqlite import SqliteCursor
from homeserver.database.statements import Backend
from homeserver.database.tables import metadata
from homeserver.database.transactions import Caches, Cursor, Published, ReadTransaction, WriteTransaction

P = ParamSpec("P")
T = TypeVar("T")

SCHEMA = f"storage_tests_{os.getpid()}"
"""Several processes may run tests on one database at the same time."""


class Store:
    """A database with all tables. `published` are the rows of the last write, up to `position`."""

    def __init__(self, cursor: Cursor, backend: Backend) -> None:
        self.cursor = cursor
        self.backend: Backend = backend
        self.caches = Caches()
        self.position = 0
        self.published: list[Published] = []
        self._numbers = NumberPool()
        self._numbers.add(1, 100_000)
        kinds = [kind.value for kind in Kind]
        cursor.execute(
            f"INSERT INTO stream (id, position, {', '.join(kinds)}) VALUES (1, 0{', 0' * len(kinds)})"
        )

    def read(
        self, f: Callable[Concatenate[ReadTransaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `f(tx, ...)` as `Database.read` does."""
        with self._transaction(keep=False):
            return f(ReadTransaction(self.cursor, self.backend, self.caches), *args, **kwargs)

    def write(
        self, f: Callable[Concatenate[WriteTransaction, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run `f(tx, ...)` as `Database.write` does: all of it is kept, or nothing if it raises."""
        with self._transaction(keep=True):
            tx = self.transaction()
            result = f(tx, *args, **kwargs)
            self.flush(tx)
        for cache, key, value in tx.remembered:
            cache.put(key, value)
        return result

    def transaction(self) -> WriteTransaction:
        """To call functions with directly; nothing that they publish is stored before `flush`."""
        return WriteTransaction(self.cursor, self.backend, self.caches, self._numbers)

    def flush(self, tx: WriteTransaction) -> None:
        """Give what the transaction published its positions."""
        self.published = tx.published
        first = self.position
        self.position = tx.flush(first)
        for number, row in enumerate(tx.published, 1):
            columns = ["position", *(kind.value for kind in row.kinds)]
            values = ", ".join(f"{column} = {first + number}" for column in columns)
            self.cursor.execute(f"UPDATE stream SET {values}")

    @property
    def topics(self) -> list[str]:
        """Whom the last write told."""
        return [topic for row in self.published for topic in row.topics]

    @contextlib.contextmanager
    def _transaction(self, *, keep: bool) -> Iterator[None]:
        self.cursor.execute("BEGIN")
        try:
            yield
        except BaseException:  # whatever it is: no transaction may stay open
            self.cursor.execute("ROLLBACK")
            raise
        self.cursor.execute("COMMIT" if keep else "ROLLBACK")


@functools.cache
def _sqlite_template() -> sqlite3.Connection:
    """A database in memory with all tables, to be copied: to make them takes a hundred times as long."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    metadata.create_all(create_engine("sqlite://", creator=lambda: connection))
    return connection


@contextlib.contextmanager
def sqlite_store() -> Iterator[Store]:
    """In memory."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    _sqlite_template().backup(connection)
    try:
        yield Store(connection.cursor(SqliteCursor), "sqlite")
    finally:
        connection.close()


@contextlib.contextmanager
def postgresql_schema(url: str) -> Iterator[str]:
    """A schema of this process in the database at `url`, which is dropped in the end; gives the URL."""
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # as SQLAlchemy declares it
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
        connection.execute(f"CREATE SCHEMA {SCHEMA}")
        connection.execute(f"SET search_path = {SCHEMA}")
        for table in metadata.sorted_tables:
            connection.execute(str(CreateTable(table).compile(dialect=dialect)))
            for index in table.indexes:
                connection.execute(str(CreateIndex(index).compile(dialect=dialect)))
        try:
            yield url
        finally:
            connection.execute(f"DROP SCHEMA {SCHEMA} CASCADE")


@contextlib.contextmanager
def postgresql_store(url: str) -> Iterator[Store]:
    """In this process's schema of the database at `url`; nothing is in its tables. (To make them takes a while.)"""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"SET search_path = {SCHEMA}")
        connection.execute(
            "".join(f"DELETE FROM {table.name};" for table in reversed(metadata.sorted_tables))
        )
        yield Store(PqCursor(connection), "postgresql")
