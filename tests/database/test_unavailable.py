"""A database that cannot do its work for a while: who asks is told so, and it goes on by itself afterwards."""

import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import psycopg
import pytest
from psycopg import errors as pg_errors
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from homeserver.database import postgresql, sqlite
from homeserver.database.database import Database
from homeserver.database.drivers import Driver
from homeserver.database.errors import DatabaseError, StorageUnavailable, TransactionEnded
from homeserver.database.leaps import LEAP
from homeserver.database.postgresql import PostgresConnection
from homeserver.database.sqlite import SqliteConnection
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from tests.database.conftest import Gate, open_database, outcome
from tests.database.notes import keep, kept, names, position, publish

T = TypeVar("T")


def pragma(text: str) -> Callable[[ReadTransaction], list[object]]:
    """Runs a PRAGMA on the connection of the transaction."""

    def run(tx: ReadTransaction) -> list[object]:
        tx._cursor.execute(f"PRAGMA {text}")
        return tx._cursor.fetchall()

    return run


def large(tx: WriteTransaction, name: str = "large") -> None:
    """More than fits on the disk."""
    for number in range(300):
        keep(tx, f"{name} {number}", "x" * 4_000)
        publish(tx, f"{name} {number}")


async def test_a_full_disk_refuses_writes_and_recovers_by_itself(sqlite_url: str) -> None:
    database = open_database(sqlite_url)
    await database.write(keep, "before")
    await database.write(pragma("max_page_count = 1"))  # SQLite makes it the present size
    before = await database.read(position)
    for _ in range(3):
        with pytest.raises(StorageUnavailable, match="full"):
            await database.write(large)
        assert await database.read(kept) == {"before"}
    gate = await Gate.close(database)
    several = [database.write(large, str(number)) for number in range(5)]
    gate.open()
    await gate.passed
    for each in several:
        assert isinstance(await outcome(each), StorageUnavailable)
    assert await database.read(position) == before

    await database.write(pragma("max_page_count = 1000000"))
    await database.write(large)
    assert len(await database.read(kept)) == 301
    assert len(await database.read(names)) == 300
    await deferToThread(database.stop)


async def test_numbers_can_be_leased_again_after_a_full_disk(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is a transaction of its own: it must not stay open when it fails."""
    database = open_database(sqlite_url)
    commit = SqliteConnection.commit
    failing = True

    def fail(connection: SqliteConnection) -> None:
        if failing:
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        commit(connection)

    monkeypatch.setattr(SqliteConnection, "commit", fail)
    for _ in range(2):
        with pytest.raises(StorageUnavailable, match="full"):
            await database.write(WriteTransaction.new_nid)
    failing = False
    assert await database.write(WriteTransaction.new_nid) > 0
    await deferToThread(database.stop)


async def test_a_commit_that_fails_loses_all_that_share_it(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = open_database(sqlite_url)
    await database.write(WriteTransaction.new_nid)
    commit = SqliteConnection.commit
    failing = False

    def fail(connection: SqliteConnection) -> None:
        if failing:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            raise error
        commit(connection)

    def repeats(tx: WriteTransaction) -> None:
        """Fails only because of what another function wrote, which is lost in the end."""
        keep(tx, "a")

    monkeypatch.setattr(SqliteConnection, "commit", fail)
    gate = await Gate.close(database)
    written = [database.write(keep, "a"), database.write(repeats), database.write(keep, "b")]
    failing = True
    gate.open()
    outcomes = [await outcome(each) for each in (gate.passed, *written)]
    assert [type(each) for each in outcomes] == [StorageUnavailable] * 4
    failing = False
    assert await database.read(kept) == set()
    await database.write(keep, "a")
    assert await database.read(kept) == {"a"}
    await deferToThread(database.stop)


async def test_a_function_that_swallows_an_error_is_found_out(database: Database) -> None:
    """On PostgreSQL the transaction is void then, and COMMIT would say nothing of it."""

    def swallow(tx: WriteTransaction) -> None:
        keep(tx, "a")
        try:
            keep(tx, "a")
        except (sqlite3.IntegrityError, psycopg.IntegrityError):
            return

    result = await outcome(database.write(swallow))
    found = await database.read(kept)
    # SQLite takes back the failed statement alone.
    assert (result, found) == (None, {"a"}) if database.backend == "sqlite" else (found == set())
    assert database.backend == "sqlite" or isinstance(result, TransactionEnded)
    await database.write(keep, "b")
    assert "b" in await database.read(kept)


def execute(url: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql)
        return list(cursor) if cursor.description else []


def cut_all(url: str) -> None:
    """Break all connections to the database, as a restart of PostgreSQL does."""
    execute(
        url,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    )


async def when_available(ask: Callable[[], Deferred[T]]) -> T:
    """Ask until the database is there again, which is to be soon."""
    for _ in range(200):
        try:
            return await ask()
        except StorageUnavailable:
            await deferToThread(threading.Event().wait, 0.05)
    raise AssertionError("the database is not found again")


async def test_broken_connections_are_replaced_without_anybody_noticing(postgres_url: str) -> None:
    database = open_database(postgres_url)
    for number in range(3):
        await deferToThread(cut_all, postgres_url)
        reads = [database.read(kept) for _ in range(6)]
        writes = [database.write(keep, f"{number} {each}") for each in range(12)]
        for each in reads:
            await each
        for done in writes:
            await done
    assert len(await database.read(kept)) == 36
    await deferToThread(database.stop)


async def test_a_connection_that_breaks_within_a_function_is_replaced(postgres_url: str) -> None:
    database = open_database(postgres_url)
    runs = 0

    def cut_once(tx: WriteTransaction) -> None:
        nonlocal runs
        runs += 1
        keep(tx, "a")
        publish(tx, "a")
        if runs == 1:
            cut_all(postgres_url)
        keep(tx, "b")

    await database.write(cut_once)
    assert runs == 2
    assert await database.read(kept) == {"a", "b"}
    assert await database.read(names) == {"a"}
    await deferToThread(database.stop)


async def test_a_commit_without_answer_is_not_done_again(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether it was done is unknown: whoever asked finds that out by a transaction id, or asks again."""
    database = open_database(postgres_url)
    await database.write(WriteTransaction.new_nid)
    commit = PostgresConnection.commit
    runs = 0

    def commit_and_break(connection: PostgresConnection) -> None:
        monkeypatch.setattr(PostgresConnection, "commit", commit)
        commit(connection)
        cut_all(postgres_url)
        connection.begin_read()

    def note(tx: WriteTransaction) -> None:
        nonlocal runs
        runs += 1
        keep(tx, "a")

    monkeypatch.setattr(PostgresConnection, "commit", commit_and_break)
    with pytest.raises(StorageUnavailable):
        await database.write(note)
    assert runs == 1
    assert await database.read(kept) == {"a"}
    await database.write(keep, "b")
    await deferToThread(database.stop)


async def test_a_new_connection_leaps_before_it_is_used(postgres_url: str) -> None:
    """PostgreSQL may come back without the last positions that were shown: see `leaps`."""
    database = open_database(postgres_url, readers=1)
    await database.write(publish, "a")
    shown = await database.read(position)
    await deferToThread(execute, postgres_url, f"UPDATE stream SET position = position - {LEAP // 2}")
    await deferToThread(cut_all, postgres_url)
    assert await database.read(position) > shown, "not even a reader sees the stream go backwards"
    await database.write(publish, "b")
    assert await database.read(position) > shown
    await deferToThread(database.stop)


async def test_a_database_that_is_gone_is_told_at_once_and_found_when_it_is_back(postgres_url: str) -> None:
    name = postgres_url.rpartition("/")[2]
    database = open_database(postgres_url)
    elsewhere = postgres_url.rpartition("/")[0] + "/postgres"
    await database.write(keep, "a")
    await deferToThread(execute, elsewhere, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
    try:
        await deferToThread(
            execute,
            elsewhere,
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )
        outcomes = [
            *[await outcome(database.read(kept)) for _ in range(20)],
            *[await outcome(database.write(keep, "b")) for _ in range(20)],
        ]
        assert {type(each) for each in outcomes} == {StorageUnavailable}
    finally:
        await deferToThread(execute, elsewhere, f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    await when_available(lambda: database.write(keep, "b"))
    assert await when_available(lambda: database.read(kept)) == {"a", "b"}
    await deferToThread(database.stop)


async def test_a_read_only_server_goes_on_reading(postgres_url: str) -> None:
    name = postgres_url.rpartition("/")[2]
    database = open_database(postgres_url, readers=1)
    await database.write(keep, "a")
    elsewhere = postgres_url.rpartition("/")[0] + "/postgres"
    await deferToThread(execute, elsewhere, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    await deferToThread(cut_all, postgres_url)
    assert await database.read(kept) == {"a"}
    with pytest.raises(StorageUnavailable, match="read-only"):
        await database.write(keep, "b")
    await deferToThread(execute, elsewhere, f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    await when_available(lambda: database.write(keep, "b"))
    assert await database.read(kept) == {"a", "b"}
    await deferToThread(database.stop)


async def test_a_deadlock_is_undone_and_tried_again(postgres_url: str) -> None:
    """The server's own transactions wait for one another before they lock any row, but others may write, too."""
    database = open_database(postgres_url)
    await database.write(keep, "a")
    await database.write(keep, "b")
    ready, locked, ended = threading.Event(), threading.Event(), threading.Event()
    runs = 0

    def crossing(tx: WriteTransaction) -> None:
        nonlocal runs
        runs += 1
        assert (ready if runs == 1 else ended).wait(20)
        lock(tx, "a")
        locked.set()
        lock(tx, "b")
        keep(tx, "a then b")

    def other_way_round() -> None:
        with psycopg.connect(postgres_url) as connection:
            # Who waits first is the one who finds out, and gives way; for superusers that is certain.
            with suppress(pg_errors.InsufficientPrivilege), connection.transaction():
                connection.execute("SET deadlock_timeout = '60s'")
            connection.execute("SELECT FROM aliases WHERE alias = 'b' FOR UPDATE")
            ready.set()
            assert locked.wait(20)
            wait_until_somebody_waits(postgres_url)
            connection.execute("SELECT FROM aliases WHERE alias = 'a' FOR UPDATE")
        ended.set()

    other = deferToThread(other_way_round)
    await database.write(crossing)
    await other
    assert runs == 2
    assert await database.read(kept) == {"a", "b", "a then b"}
    await deferToThread(database.stop)


def wait_until_somebody_waits(url: str) -> None:
    """Return when a connection to the database waits for a lock."""
    waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    for _ in range(400):
        if execute(url, waits):
            return
        threading.Event().wait(0.05)
    raise AssertionError("nobody waits")


def lock(tx: WriteTransaction, name: str) -> None:
    tx._cursor.execute("SELECT creator FROM aliases WHERE alias = $1 FOR UPDATE", [name])


async def test_stopping_does_what_waits_and_refuses_what_comes_later(url: str) -> None:
    database = open_database(url)
    written = [database.write(keep, str(number)) for number in range(50)]
    await deferToThread(database.stop)
    for each in written:
        await each
    with pytest.raises(StorageUnavailable, match="shutting down"):
        await database.write(keep, "late")
    with pytest.raises(StorageUnavailable, match="shutting down"):
        await database.read(kept)


async def test_stopping_does_not_wait_for_ever(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Database, "STOP_S", 0.2)
    database = open_database(url, readers=1)
    gate = await Gate.close(database)
    waiting = database.write(keep, "waiting")
    await deferToThread(database.stop)
    with pytest.raises(StorageUnavailable, match="shutting down"):
        await waiting
    gate.open()
    await gate.passed


def test_a_database_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError, match="cannot open"):
        open_database(f"sqlite:///{tmp_path}/no/such/folder/homeserver.db")
    (tmp_path / "letter.db").write_text("a letter to my aunt" * 100)
    with pytest.raises(DatabaseError, match="not a database"):
        open_database(f"sqlite:///{tmp_path}/letter.db")
    with pytest.raises(DatabaseError, match="cannot open"):
        open_database("postgresql://nobody@127.0.0.1:1/nothing")


def driver_of(error: Exception) -> Driver:
    """The driver that such an error comes from."""
    return postgresql.DRIVER if isinstance(error, psycopg.Error) else sqlite.DRIVER


def sqlite_error(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("sqlite")
    error.sqlite_errorcode = code
    return error


@pytest.mark.parametrize(
    "error",
    [
        sqlite_error(sqlite3.SQLITE_FULL),
        sqlite_error(sqlite3.SQLITE_IOERR_WRITE),
        sqlite_error(sqlite3.SQLITE_READONLY_DBMOVED),
        sqlite_error(sqlite3.SQLITE_BUSY),
        psycopg.OperationalError("the connection is closed"),
        psycopg.DatabaseError("server closed the connection unexpectedly"),
        pg_errors.DiskFull(),
        pg_errors.AdminShutdown(),
        pg_errors.CannotConnectNow(),
        pg_errors.QueryCanceled(),
        pg_errors.ReadOnlySqlTransaction(),
        pg_errors.IdleInTransactionSessionTimeout(),
        pg_errors.DeadlockDetected(),
        pg_errors.TooManyConnections(),
        pg_errors.IoError(),
        DatabaseError("cannot open"),
    ],
    ids=repr,
)
def test_troubles_of_the_machine_are_temporary(error: Exception) -> None:
    assert isinstance(driver_of(error).unavailable(error), StorageUnavailable)


@pytest.mark.parametrize(
    "error",
    [
        sqlite_error(sqlite3.SQLITE_ERROR),
        sqlite_error(sqlite3.SQLITE_CORRUPT),
        sqlite3.IntegrityError("constraint"),
        sqlite3.ProgrammingError("closed"),
        psycopg.ProgrammingError("wrong use"),
        pg_errors.UndefinedTable(),
        pg_errors.UniqueViolation(),
        # A key too long for an index stays too long.
        pg_errors.ProgramLimitExceeded(),
        pg_errors.InFailedSqlTransaction(),
        ValueError(),
    ],
    ids=repr,
)
def test_bugs_are_not_temporary(error: Exception) -> None:
    assert driver_of(error).unavailable(error) is None
