"""Fixtures of several servers, on SQLite, and on PostgreSQL where one is given."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import attrs
import pytest

from tests.databases import Databases
from tests.federation.harness import FederatedServer, Servers, servers_in
from tests.federation.peer import Peer, running_peer
from tests.fixtures import POSTGRES
from tests.openapi import Specification


@pytest.fixture(params=["sqlite", "postgresql"])
def new_database(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Callable[[Path], str]]:
    """Gives the URL of a new empty database whenever it is called with a folder."""
    if request.param == "sqlite":
        yield databases.sqlite
        return
    if POSTGRES not in os.environ:
        pytest.skip(f"no PostgreSQL: {POSTGRES} is not set")
    with ExitStack() as lent:
        yield lambda _: lent.enter_context(databases.postgresql())


@pytest.fixture
async def servers(
    new_database: Callable[[Path], str], tmp_path: Path, specification: Specification | None
) -> AsyncIterator[Servers]:
    """Starts as many servers as the test wants."""
    async with servers_in(tmp_path, new_database, specification) as made:
        yield made


@attrs.frozen
class Two:
    """Two servers."""

    one: FederatedServer
    other: FederatedServer


@pytest.fixture
async def two(servers: Servers) -> Two:
    """Two servers that run."""
    return Two(await servers.start(), await servers.start())


@pytest.fixture
async def three(servers: Servers) -> tuple[FederatedServer, FederatedServer, FederatedServer]:
    """Three servers that run."""
    return await servers.start(), await servers.start(), await servers.start()


@pytest.fixture
async def peer(servers: Servers) -> AsyncIterator[Peer]:
    """A foreign server, which does what the test wants."""
    async with running_peer(servers.authority, servers.new_folder("peer")) as running:
        yield running


@pytest.fixture
async def numeric_peer(servers: Servers) -> AsyncIterator[Peer]:
    """A foreign server whose name is an address."""
    folder = servers.new_folder("numeric")
    async with running_peer(servers.authority, folder, "numeric", "127.0.0.1") as running:
        yield running
