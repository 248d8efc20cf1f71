"""SQLite's write-ahead log does not grow for ever, nor does its upkeep stop the writing."""

import sqlite3
import threading
from pathlib import Path

import pytest
from twisted.internet.threads import deferToThread

from homeserver.database.checkpoints import LogLength
from homeserver.database.database import Database
from homeserver.database.errors import StorageUnavailable
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from tests.database.conftest import open_database
from tests.database.notes import KEPT, keep, kept

PAGE = 4096


def log_of(database: Database) -> Path:
    return Path(f"{database.location.target}-wal")


async def write_much(database: Database, name: str) -> None:
    """About 40 pages in a transaction."""

    def much(tx: WriteTransaction) -> None:
        for number in range(40):
            keep(tx, f"{name} {number}", "x" * PAGE)

    await database.write_soon(much)


async def test_the_log_begins_anew_under_steady_load(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer never pauses here, so that no checkpoint ever catches up with it."""
    monkeypatch.setattr(LogLength, "LONG", 200)
    database = open_database(sqlite_url)
    for number in range(40):
        # Some write while the checkpoint is made, so that it never covers the whole log.
        checkpoint = deferToThread(database.checkpoint)
        await write_much(database, f"{number} a")
        await write_much(database, f"{number} b")
        await checkpoint
        reads = database.read(kept)
        await write_much(database, f"{number} c")
        await reads
    written = 40 * 3 * 40
    assert len(await database.read(kept)) == written
    assert log_of(database).stat().st_size < written * PAGE / 4
    await deferToThread(database.stop)


async def test_a_reader_in_the_way_is_not_waited_for(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LogLength, "LONG", 1)
    database = open_database(sqlite_url, readers=1)
    await write_much(database, "before")
    entered, leave = threading.Event(), threading.Event()

    def long_read(tx: ReadTransaction) -> set[str]:
        first = kept(tx)
        entered.set()
        assert leave.wait(30)
        assert kept(tx) == first
        return first

    read = database.read(long_read)
    await deferToThread(entered.wait, 30)
    for number in range(3):
        await deferToThread(database.checkpoint)
        await write_much(database, f"during {number}")
    leave.set()
    assert len(await read) == 40
    await write_much(database, "after")
    assert len(await database.read(kept)) == 200
    await deferToThread(database.stop)


async def test_a_checkpoint_that_cannot_be_made_is_told(sqlite_url: str, tmp_path: Path) -> None:
    database = open_database(sqlite_url)
    await database.write(keep, "a")
    await deferToThread(database.stop)
    (tmp_path / "homeserver.db").rename(tmp_path / "elsewhere.db")
    (tmp_path / "homeserver.db").mkdir()
    with pytest.raises(Exception, match="cannot open") as caught:
        await deferToThread(database.checkpoint)
    assert isinstance(caught.value, StorageUnavailable)


async def test_postgresql_needs_none(postgres_url: str) -> None:
    database = open_database(postgres_url)
    database.checkpoint()
    await deferToThread(database.stop)


async def test_a_look_up_leaves_no_snapshot_behind(sqlite_url: str) -> None:
    """Else an idle reader would keep the log from beginning anew."""
    database = open_database(sqlite_url, readers=1)
    await write_much(database, "before")

    def first_of_many(tx: ReadTransaction) -> object:
        return tx.one(KEPT)

    assert await database.look_up(first_of_many)
    with sqlite3.connect(database.location.target, isolation_level=None) as other:
        other.execute("PRAGMA busy_timeout = 0")
        assert other.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0] == 0
    other.close()
    await deferToThread(database.stop)
