"""Which commits wait for the disk, and that positions which were shown never come again."""

from collections.abc import Callable

import pytest
from twisted.internet.threads import deferToThread

from homeserver.database.database import Database
from homeserver.database.leaps import LEAP, MOST_AT_RISK
from homeserver.database.postgresql import PostgresConnection
from homeserver.database.sqlite import SqliteConnection
from homeserver.database.transactions import WriteTransaction
from tests.database.conftest import Commits, Gate, open_database
from tests.database.notes import TOPIC, position, publish


def waits_for_the_disk(tx: WriteTransaction) -> bool:
    """Whether the commit of this transaction will."""
    if tx.backend == "sqlite":
        tx._cursor.execute("PRAGMA synchronous")
        return bool(tx._cursor.fetchone()[0] == 2)
    tx._cursor.execute("SELECT current_setting('synchronous_commit')")
    return bool(tx._cursor.fetchone()[0] == "on")


async def test_only_what_may_be_lost_does_not_wait_for_the_disk(single: Database) -> None:
    for _ in range(2):
        assert await single.write(waits_for_the_disk)
        assert not await single.write_soon(waits_for_the_disk)


async def test_whatever_shares_a_commit_with_a_durable_write_is_durable(sqlite_url: str) -> None:
    database = open_database(sqlite_url)
    gate = await Gate.close(database)
    shared = [database.write_soon(waits_for_the_disk), database.write(waits_for_the_disk)]
    gate.open()
    assert [await each for each in shared] == [True, True]
    await deferToThread(database.stop)


async def test_not_too_many_positions_are_at_risk(single: Database) -> None:
    def publish_many(tx: WriteTransaction) -> bool:
        for number in range(MOST_AT_RISK // 2 + 1):
            publish(tx, f"n{number}")
        return waits_for_the_disk(tx)

    await single.write(waits_for_the_disk)
    outcomes = [await single.write_soon(publish_many) for _ in range(6)]
    assert outcomes == [False, False, True, False, False, True]


async def test_each_connection_that_takes_positions_leaps_first(url: str) -> None:
    first = open_database(url)
    started = await first.read(position)
    assert started == LEAP
    await first.write(publish, "a")
    assert await first.read(position) == started + 1
    second = open_database(url)
    assert await first.read(position) == 2 * started + 1
    # The first goes on where the second has leapt to.
    await first.write(publish, "b")
    await second.write(publish, "c")
    assert await first.read(position) == 2 * started + 3
    for database in (first, second):
        await deferToThread(database.stop)


@pytest.mark.parametrize("connection_class", [SqliteConnection, PostgresConnection])
async def test_the_leap_is_durable(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    connection_class: type[SqliteConnection | PostgresConnection],
) -> None:
    seen: list[bool] = []
    begin: Callable[..., int] = connection_class.begin_write

    def spy(connection: object, *, durable: bool) -> int:
        seen.append(durable)
        return begin(connection, durable=durable)

    monkeypatch.setattr(connection_class, "begin_write", spy)
    url = request.getfixturevalue("sqlite_url" if connection_class is SqliteConnection else "postgres_url")
    database = open_database(url)
    assert seen == [True]
    await deferToThread(database.stop)


async def test_commits_are_told_in_the_reactor_with_their_topics(single: Database, commits: Commits) -> None:
    def quiet(tx: WriteTransaction) -> None:
        tx.new_nid()

    await single.write(quiet)
    assert commits.told == []
    await single.write_soon(publish, "a")
    assert commits.told == [(await single.read(position), {TOPIC})]
