"""Where a server keeps its rows: an SQLite file in its data folder, or a database of a PostgreSQL cluster."""

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import time
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from bench_lib.processes import Child, cpu_seconds, parent_of

SQLITE_NAME = "homeserver.db"
DUMP_NAME = "database.dump"
START_TIMEOUT_S = 60.0


class DatabaseError(Exception):
    """PostgreSQL, or one of its tools, did not do what it was asked."""


def free_port() -> int:
    """Give a port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Database(Protocol):
    """The database of one server; `data_dir` is the folder with the server's files and names the database."""

    def create(self, data_dir: Path) -> None: ...

    def url(self, data_dir: Path) -> str: ...

    def used_bytes(self, data_dir: Path) -> int:
        """Size of the stopped server's database."""
        ...

    def refresh_statistics(self, data_dir: Path) -> None:
        """Let the stopped server's database look at its rows, so that it plans its queries well.

        A database that has grown in minutes has no such statistics; one that has grown in months has.
        """
        ...

    def save(self, data_dir: Path) -> None:
        """Put the stopped server's rows into `data_dir`, where they are not there anyway."""
        ...

    def load(self, data_dir: Path) -> None:
        """Bring back what `save` put into `data_dir`."""
        ...

    def drop(self, data_dir: Path) -> None: ...

    def cpu_seconds(self) -> float:
        """CPU time of the database's own processes."""
        ...


class Sqlite:
    """The file `homeserver.db` in the server's data folder; the server's own threads work on it."""

    def create(self, data_dir: Path) -> None:
        """Nothing: the server makes the file."""

    def url(self, data_dir: Path) -> str:
        return f"sqlite:///{data_dir / SQLITE_NAME}"

    def used_bytes(self, data_dir: Path) -> int:
        """Pages in use, after everything has moved from the write-ahead log into the file."""
        with contextlib.closing(sqlite3.connect(data_dir / SQLITE_NAME)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            pages, free, size = (
                int(database.execute(f"PRAGMA {name}").fetchone()[0])
                for name in ("page_count", "freelist_count", "page_size")
            )
        return (pages - free) * size

    def refresh_statistics(self, data_dir: Path) -> None:
        """See Database."""
        with contextlib.closing(sqlite3.connect(data_dir / SQLITE_NAME)) as database:
            database.execute("ANALYZE")
            database.commit()

    def save(self, data_dir: Path) -> None:
        """Nothing: the file is in the folder."""

    def load(self, data_dir: Path) -> None:
        """Nothing: the file is in the folder."""

    def drop(self, data_dir: Path) -> None:
        """Nothing: the folder is removed."""

    def cpu_seconds(self) -> float:
        return 0.0


class Cluster:
    """A PostgreSQL cluster on this machine; `url` names a database to connect to for administration."""

    def __init__(self, url: str) -> None:
        self.admin_url = url
        self._postmaster = self._find_postmaster()

    def _find_postmaster(self) -> int:
        """Find the cluster's first process, as the parent of the backend that serves us."""
        shell = subprocess.Popen(
            ["psql", "-X", "-q", "-A", "-t", self.admin_url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with shell:
            assert shell.stdin is not None
            assert shell.stdout is not None
            assert shell.stderr is not None
            with contextlib.suppress(BrokenPipeError):
                shell.stdin.write("SELECT pg_backend_pid();\n")
                shell.stdin.flush()
            line = shell.stdout.readline().strip()
            parent = parent_of(int(line)) if line.isdigit() else None
            with contextlib.suppress(BrokenPipeError):
                shell.stdin.close()
            if parent is None:
                said = shell.stderr.read().strip()
                raise DatabaseError(f"no PostgreSQL of this machine answers at the URL: {said}")
        return parent

    def sql(self, statement: str) -> str:
        """Run one statement and give its only value, as text."""
        return _run(
            ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement, self.admin_url]
        ).strip()

    def url_of(self, database: str) -> str:
        return urlunsplit(urlsplit(self.admin_url)._replace(path=f"/{database}"))

    def cpu_seconds(self) -> float:
        return cpu_seconds(self._postmaster)


class Postgresql:
    """One database per data folder in a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    @staticmethod
    def _name(data_dir: Path) -> str:
        return f"homeserver_bench_{os.getpid()}_{data_dir.parent.name}_{data_dir.name}".replace("-", "_")

    def create(self, data_dir: Path) -> None:
        name = self._name(data_dir)
        self._cluster.sql(
            f"CREATE DATABASE {name} ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        )

    def url(self, data_dir: Path) -> str:
        return self._cluster.url_of(self._name(data_dir))

    def used_bytes(self, data_dir: Path) -> int:
        self.refresh_statistics(data_dir)
        return int(self._cluster.sql(f"SELECT pg_database_size('{self._name(data_dir)}')"))

    def refresh_statistics(self, data_dir: Path) -> None:
        """See Database; dead rows are removed too, so that this does not happen in a measurement."""
        _run(["psql", "-X", "-q", "-c", "VACUUM ANALYZE", self.url(data_dir)])

    def save(self, data_dir: Path) -> None:
        _run(["pg_dump", "-Fc", "-Z1", "-f", str(data_dir / DUMP_NAME), self.url(data_dir)])

    def load(self, data_dir: Path) -> None:
        self.create(data_dir)
        _run(["pg_restore", "--no-owner", "-d", self.url(data_dir), str(data_dir / DUMP_NAME)])
        self.refresh_statistics(data_dir)

    def drop(self, data_dir: Path) -> None:
        self._cluster.sql(f"DROP DATABASE IF EXISTS {self._name(data_dir)} WITH (FORCE)")

    def cpu_seconds(self) -> float:
        return self._cluster.cpu_seconds()


def _run(command: list[str], *, user: str | None = None) -> str:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, user=user, group=user, cwd="/"
        )
    except FileNotFoundError:
        raise DatabaseError(f"{command[0]} is not installed") from None
    except subprocess.CalledProcessError as error:
        raise DatabaseError(f"{command[0]} failed: {str(error.stderr).strip()[-1000:]}") from None
    return done.stdout


class TemporaryCluster:
    """A PostgreSQL cluster with default settings in a folder of its own, for one run.

    PostgreSQL refuses to run as root; root has it run as the user `postgres`, who must get into `folder`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._user = None if os.geteuid() else "postgres"
        self._child: Child | None = None

    def start(self) -> Cluster:
        """Make the cluster and start it.

        Errors: DatabaseError when `initdb` or `postgres` is missing or fails.
        """
        for tool in ("initdb", "postgres", "psql", "pg_dump", "pg_restore"):
            if shutil.which(tool) is None:
                raise DatabaseError(
                    f"{tool} is not on the PATH; give --postgres-url for a running PostgreSQL"
                )
        self._folder.mkdir(mode=0o755)
        if self._user is not None:
            shutil.chown(self._folder, self._user, self._user)
        data = self._folder / "data"
        _run(
            ["initdb", "-D", str(data), "-U", "bench", "-A", "trust", "-E", "UTF8", "--locale=C"],
            user=self._user,
        )
        port = free_port()
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self._folder),
            "port": str(port),
        }
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._child = Child(
            ["postgres", "-D", str(data), *flags],
            log=self._folder.with_name(f"{self._folder.name}.log"),
            cwd=self._folder,
            env=dict(os.environ),
            stop_signal=signal.SIGINT,
            user=self._user,
        )
        return self._wait(f"postgresql://bench:bench@127.0.0.1:{port}/postgres")

    def _wait(self, url: str) -> Cluster:
        assert self._child is not None
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                return Cluster(url)
            except DatabaseError:
                if time.monotonic() > deadline or self._child.exit_code() is not None:
                    raise DatabaseError(f"PostgreSQL did not start:\n{self._child.log_tail()}") from None
                time.sleep(0.2)

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()
