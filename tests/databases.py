"""Empty databases for tests, quickly: copies of one that has been migrated once, used again and again."""

import contextlib
import hashlib
import itertools
import shutil
import sqlite3
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
from psycopg.pq import TransactionStatus

from homeserver.database.drivers import Location
from homeserver.database.migrate import upgrade
from homeserver.database.postgresql import PostgresConnection

END_SESSIONS = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND pid != pg_backend_pid()
"""

_numbers = itertools.count(1)


class KeptConnection(PostgresConnection):
    """A server's connection that can be had again after the server has stopped."""

    def __init__(self, home: "list[KeptConnection]", url: str, *, read_only: bool) -> None:
        super().__init__(url, read_only=read_only)
        self._home = home

    def close(self) -> None:
        """Go home."""
        if self.is_usable() and self._pgconn.transaction_status == TransactionStatus.IDLE:
            self._home.append(self)
        else:
            super().close()

    def really_close(self) -> None:
        """Disconnect."""
        super().close()


class KeptConnections:
    """Servers' connections to the databases that are used again.

    A new one costs PostgreSQL a process that knows neither tables nor statements yet: more than most tests do with it.
    It has no state of its own between transactions but what its opening gives it.
    """

    def __init__(self) -> None:
        self._free: dict[tuple[str, bool], list[KeptConnection]] = defaultdict(list)
        self._urls: set[str] = set()

    def keep_those_of(self, url: str) -> None:
        """Of this database connections are kept."""
        self._urls.add(url)

    def connect(self, url: str, /, *, read_only: bool) -> PostgresConnection:
        """As the driver's. Errors: psycopg's."""
        if url not in self._urls:
            return PostgresConnection(url, read_only=read_only)
        free = self._free[url, read_only]
        while free:
            kept = free.pop()
            with contextlib.suppress(psycopg.Error):
                kept.cursor.command(b"SELECT 1")  # whether it is still there
                return kept
        return KeptConnection(free, url, read_only=read_only)

    def close(self) -> None:
        """Close all that nobody uses."""
        for free in self._free.values():
            while free:
                free.pop().really_close()


class Databases:
    """Empty databases with the current schema."""

    def __init__(self, folder: Path, postgres_url: str | None) -> None:
        self.connections = KeptConnections()
        self._folder = folder
        self._postgres_url = postgres_url
        self._template: Path | None = None
        self._postgres_template: str | None = None
        self._seeds: dict[str, list[tuple[Any, ...]]] = {}
        self._filled = b""  # finds the tables that have rows
        self._free: list[str] = []
        self._cleaners: dict[str, psycopg.Connection] = {}

    def sqlite(self, folder: Path) -> str:
        """The URL of a new SQLite database in `folder`."""
        if self._template is None:
            self._template = self._folder / "template.db"
            upgrade(Location.parse(f"sqlite:///{self._template}"))
            with sqlite3.connect(self._template) as connection:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        shutil.copy(self._template, folder / "homeserver.db")
        return f"sqlite:///{folder / 'homeserver.db'}"

    @contextlib.contextmanager
    def postgresql(self, *, for_processes: bool = False) -> Iterator[str]:
        """The URL of a PostgreSQL database that the next test may have: the schema has to stay what it was.

        What processes were doing there when they were killed may still go on, and is ended before the next.
        """
        if self._free:
            url = self._free.pop()
        else:
            url = self._url_of(self._create(self._the_postgres_template()))
            self.connections.keep_those_of(url)
        yield url
        self._empty(url, end_sessions=for_processes)
        self._free.append(url)

    @contextlib.contextmanager
    def own_postgresql(self, *, with_schema: bool = True) -> Iterator[str]:
        """The URL of a PostgreSQL database that is dropped in the end."""
        name = self._create(self._the_postgres_template() if with_schema else None)
        yield self._url_of(name)
        self._drop(name)

    def drop_all(self) -> None:
        """Drop the PostgreSQL databases that were made."""
        self.connections.close()
        for cleaner in self._cleaners.values():
            cleaner.close()
        for url in self._free:
            self._drop(url.rpartition("/")[2])
        if self._postgres_template is not None:
            self._drop(self._postgres_template)

    def _the_postgres_template(self) -> str:
        if self._postgres_template is None:
            self._postgres_template = self._create(None)
            url = self._url_of(self._postgres_template)
            upgrade(Location.parse(url))
            self._seeds = _rows_by_table(url)
            self._filled = " UNION ALL ".join(
                f"SELECT '{table}' WHERE EXISTS (SELECT FROM \"{table}\")" for table in self._seeds
            ).encode()
        return self._postgres_template

    def _create(self, template: str | None) -> str:
        assert self._postgres_url is not None
        name = (
            f"homeserver_test_{next(_numbers)}_{hashlib.sha256(str(self._folder).encode()).hexdigest()[:8]}"
        )
        with psycopg.connect(self._postgres_url, autocommit=True) as connection:
            suffix = "" if template is None else f' TEMPLATE "{template}"'
            connection.execute(f'CREATE DATABASE "{name}"{suffix}')
        return name

    def _drop(self, name: str) -> None:
        with psycopg.connect(self._postgres_url or "", autocommit=True) as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def _empty(self, url: str, *, end_sessions: bool) -> None:
        """Leave the rows of the template and no others in a database."""
        if end_sessions and url in self._cleaners:
            self._cleaners.pop(url).close()  # the test may have ended it
        if url not in self._cleaners:
            self._cleaners[url] = psycopg.connect(url, autocommit=True)
        connection = self._cleaners[url]
        if end_sessions:
            connection.execute(END_SESSIONS)
        with connection.transaction():
            connection.execute("SET LOCAL lock_timeout = '10s'")  # who still holds a row has not been stopped
            filled = [table for (table,) in connection.execute(self._filled, prepare=True)]
            connection.execute("".join(f'DELETE FROM "{table}";' for table in filled) or "SELECT")
            for table, rows in self._seeds.items():
                for row in rows:
                    values = ", ".join(["%s"] * len(row))
                    connection.execute(f'INSERT INTO "{table}" VALUES ({values})', row)

    def _url_of(self, name: str) -> str:
        base, _, _ = (self._postgres_url or "").rpartition("/")
        return f"{base}/{name}"


def _rows_by_table(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """Everything that is in a PostgreSQL database."""
    with psycopg.connect(url) as connection:
        names = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        return {name: connection.execute(f'SELECT * FROM "{name}"').fetchall() for (name,) in names}
