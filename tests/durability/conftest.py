"""Fixtures for tests that take a server's process, or its disk, away."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.databases import Databases
from tests.openapi import Specification
from tests.processes import ServerProcess, processes

POSTGRES = "HOMESERVER_TEST_POSTGRES"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, databases: Databases, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        yield databases.sqlite(tmp_path)
    elif POSTGRES not in os.environ:
        pytest.skip(f"no PostgreSQL: {POSTGRES} is not set")
    else:
        with databases.postgresql(for_processes=True) as url:
            yield url


@pytest.fixture
async def process(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> AsyncIterator[ServerProcess]:
    """A running server process."""
    async with processes(tmp_path, database_url, specification, "homeserver") as (made,):
        yield made
