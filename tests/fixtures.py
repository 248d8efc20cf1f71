"""Fixtures for tests over HTTP: a server per test, on SQLite, and on PostgreSQL where one is given."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from homeserver.database import postgresql
from tests.api.server import Client, TestServer, running_server
from tests.databases import Databases
from tests.openapi import Specification
from tests.storage.store import postgresql_schema

POSTGRES = "HOMESERVER_TEST_POSTGRES"


@pytest.fixture(scope="session")
def databases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Databases]:
    """Makes databases."""
    made = Databases(tmp_path_factory.mktemp("databases"), os.environ.get(POSTGRES))
    kept = msgspec.structs.replace(postgresql.DRIVER, connect=made.connections.connect)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postgresql, "DRIVER", kept)
        yield made
    made.drop_all()


@pytest.fixture(scope="session")
def schema_url() -> Iterator[str]:
    """The URL of a PostgreSQL database in which there is a schema for the tests of `storage`."""
    with postgresql_schema(os.environ[POSTGRES]) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, databases: Databases, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        yield databases.sqlite(tmp_path)
    elif POSTGRES not in os.environ:
        pytest.skip(f"no PostgreSQL: {POSTGRES} is not set")
    else:
        with databases.postgresql() as url:
            yield url


@pytest.fixture
async def server(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> AsyncIterator[TestServer]:
    """A running server without users."""
    async with running_server(database_url, tmp_path, specification) as running:
        yield running


@pytest.fixture
async def alice(server: TestServer) -> Client:
    """A user with one device."""
    return await server.user("alice")


@pytest.fixture
async def bob(server: TestServer) -> Client:
    """Another user."""
    return await server.user("bob")


@pytest.fixture
async def carol(server: TestServer) -> Client:
    """A third user."""
    return await server.user("carol")


@pytest.fixture
async def guest(server: TestServer) -> Client:
    """A guest."""
    return await server.guest()
