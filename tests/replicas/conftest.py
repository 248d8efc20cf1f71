"""Fixtures for tests with several server processes: they need PostgreSQL and Redis."""

import os
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorTCP, ITCPTransport
from twisted.internet.protocol import ServerFactory
from twisted.protocols.portforward import ProxyFactory, ProxyServer

from tests.api.server import Client, Databases
from tests.openapi import Specification
from tests.processes import ServerProcess, processes

POSTGRES = "HOMESERVER_TEST_POSTGRES"
REDIS = "HOMESERVER_TEST_REDIS"


@attrs.define(eq=False)
class RedisLink:
    """A way to Redis that can be cut and mended: to the servers it is as if Redis were killed and started again."""

    host: str
    port: int
    _listening: IListeningPort | None = None
    _own_port: int = 0
    _open: list[ProxyServer] = attrs.field(factory=list)

    @property
    def url(self) -> str:
        """What the servers are told."""
        return f"redis://127.0.0.1:{self._own_port}"

    def mend(self) -> None:
        """Accept connections."""
        factory = _Tracking(self.host, self.port)
        factory.open = self._open
        tcp = cast("IReactorTCP", reactor)
        listening = tcp.listenTCP(self._own_port, cast("ServerFactory", factory), interface="127.0.0.1")
        self._own_port = cast("IPv4Address", listening.getHost()).port
        self._listening = listening

    async def cut(self) -> None:
        """Break all connections, and refuse new ones."""
        if self._listening is not None:
            await maybeDeferred(self._listening.stopListening)
            self._listening = None
        for protocol in self._open:
            if protocol.transport is not None:
                cast("ITCPTransport", protocol.transport).abortConnection()
        self._open.clear()


class _Tracking(ProxyFactory):
    open: list[ProxyServer]
    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> ProxyServer | None:  # noqa: N802 - Twisted's name
        protocol = super().buildProtocol(addr)
        if protocol is not None:
            self.open.append(protocol)
        return protocol


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
def database_url(databases: Databases) -> str:
    """An empty PostgreSQL database."""
    if POSTGRES not in os.environ:
        pytest.skip(f"no PostgreSQL: {POSTGRES} is not set")
    return databases.postgresql()


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
