"""Fixtures for tests of the database layer: real databases with the real schema."""

import os
import threading
from collections.abc import AsyncIterator, Collection, Iterator
from pathlib import Path
from typing import Any, Self, cast

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from homeserver.database.database import Database
from homeserver.database.drivers import Location
from homeserver.database.jobs import Loop
from homeserver.database.transactions import WriteTransaction
from tests.databases import Databases

POSTGRES = "HOMESERVER_TEST_POSTGRES"
REACTOR = cast("Loop", reactor)


@pytest.fixture
def sqlite_url(databases: Databases, tmp_path: Path) -> str:
    """The URL of an empty SQLite database."""
    return databases.sqlite(tmp_path)


@pytest.fixture
def postgres_url(databases: Databases) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    if POSTGRES not in os.environ:
        pytest.skip(f"no PostgreSQL: {POSTGRES} is not set")
    with databases.own_postgresql() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database of each kind."""
    fixture = "sqlite_url" if request.param == "sqlite" else "postgres_url"
    return cast("str", request.getfixturevalue(fixture))


@attrs.define
class Commits:
    """What was told after commits."""

    told: list[tuple[int, set[str]]] = attrs.field(factory=list)

    def __call__(self, position: int, topics: Collection[str]) -> None:
        self.told.append((position, set(topics)))


@pytest.fixture
def commits() -> Commits:
    return Commits()


def open_database(url: str, commits: Commits | None = None, **options: Any) -> Database:
    """A started database."""
    made = Database(Location.parse(url), REACTOR, on_commit=commits or Commits(), **options)
    made.start()
    return made


@pytest.fixture
async def database(url: str, commits: Commits) -> AsyncIterator[Database]:
    """A started database of each kind."""
    made = open_database(url, commits)
    yield made
    await deferToThread(made.stop)


@pytest.fixture
async def single(url: str, commits: Commits) -> AsyncIterator[Database]:
    """A started database of each kind with one writer thread, so that the order of writes is known."""
    made = open_database(url, commits, readers=1)
    yield made
    await deferToThread(made.stop)


class Gate:
    """Holds up a writer thread, so that what is written meanwhile waits and is then taken in one go."""

    def __init__(self, database: Database) -> None:
        self._entered: Deferred[None] = Deferred()
        self._opened = threading.Event()
        self.passed = database.write(self._hold)

    @classmethod
    async def close(cls, database: Database) -> Self:
        """Returns when a writer is held up."""
        gate = cls(database)
        await gate._entered
        return gate

    def open(self) -> None:
        """Let the writer go on."""
        self._opened.set()

    def _hold(self, tx: WriteTransaction) -> None:
        del tx
        if not self._opened.is_set():  # else it is run again, with others whose commit failed
            REACTOR.callFromThread(lambda: self._entered.callback(None))
            assert self._opened.wait(30)


async def outcome(deferred: Deferred[Any]) -> object:
    """What a Deferred gives, or the error that it fails with."""
    try:
        return await deferred
    except Exception as error:  # noqa: BLE001 - whatever it is
        return error
