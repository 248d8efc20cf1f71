"""Fixtures for tests with several server processes: they need PostgreSQL and Redis."""

import os
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import attrs
import pytest

from tests.api.server import Client
from tests.databases import Databases
from tests.links import Link
from tests.openapi import Specification
from tests.processes import ServerProcess, processes

POSTGRES = "HOMESERVER_TEST_POSTGRES"
REDIS = "HOMESERVER_TEST_REDIS"


class RedisLink(Link):
    """A way to Redis: when it is cut, that is to the servers as if Redis were killed."""

    @property
    def url(self) -> str:
        """What the servers are told."""
        return f"redis://127.0.0.1:{self.own_port}"


@pytest.fixture
async def redis() -> AsyncIterator[RedisLink]:
    """A way to Redis."""
    if REDIS not in os.environ:
        pytest.skip(f"no Redis: {REDIS} is not set")
    parts = urlsplit(os.environ[REDIS])
    link = RedisLink(parts.hostname or "127.0.0.1", parts.port or 6379)
    link.mend()
    yield link
    await link.cut()


@pytest.fixture
def database_url(databases: Databases) -> Iterator[str]:
    """An empty PostgreSQL database."""
    if POSTGRES not in os.environ:
        pytest.skip(f"no PostgreSQL: {POSTGRES} is not set")
    with databases.postgresql(for_processes=True) as url:
        yield url


@attrs.frozen
class Replicas:
    """Two processes that are the same server."""

    a: ServerProcess
    b: ServerProcess


@pytest.fixture
async def replicas(
    database_url: str, redis: RedisLink, tmp_path: Path, specification: Specification | None
) -> AsyncIterator[Replicas]:
    """Two running processes."""
    async with processes(tmp_path, database_url, specification, "a", "b", redis=redis.url) as (a, b):
        yield Replicas(a, b)


@pytest.fixture
async def replicas_with_limits(
    database_url: str, redis: RedisLink, tmp_path: Path, specification: Specification | None
) -> AsyncIterator[Replicas]:
    """Two running processes that let a user send five messages; a new name, as Redis remembers the old ones."""
    options = {
        "server_name": f"{uuid.uuid4()}.example",
        "redis": redis.url,
        "rate_limits": {"messages": {"per_second": 0.001, "burst": 5}},
    }
    async with processes(tmp_path, database_url, specification, "a", "b", **options) as (a, b):
        yield Replicas(a, b)


@attrs.frozen
class Person:
    """A device of a user, at either process."""

    a: Client
    b: Client

    @property
    def user_id(self) -> str:
        return self.a.user_id


async def person(replicas: Replicas, name: str) -> Person:
    """A new user."""
    at_a = await replicas.a.door().user(name)
    return Person(at_a, replicas.b.client(at_a))


@pytest.fixture
async def alice(replicas: Replicas) -> Person:
    return await person(replicas, "alice")


@pytest.fixture
async def bob(replicas: Replicas) -> Person:
    return await person(replicas, "bob")
