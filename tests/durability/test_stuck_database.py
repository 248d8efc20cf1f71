"""A PostgreSQL that does not answer any more, as when the network between is cut: nothing is refused, nothing comes."""

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import attrs
import pytest
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorTCP, ITCPTransport
from twisted.internet.protocol import ServerFactory
from twisted.internet.task import deferLater
from twisted.protocols.portforward import ProxyFactory, ProxyServer

from tests.api.server import Databases, path_of, room_path
from tests.openapi import Specification
from tests.processes import ServerProcess, processes

POSTGRES = "HOMESERVER_TEST_POSTGRES"


class _Tracking(ProxyFactory):
    open: list[ProxyServer]
    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> ProxyServer | None:  # noqa: N802 - Twisted's name
        protocol = super().buildProtocol(addr)
        if protocol is not None:
            self.open.append(protocol)
        return protocol


@attrs.define(eq=False)
class Wire:
    """The network to PostgreSQL. While it is stuck nothing gets through, and connections stay open."""

    url: str
    _listening: IListeningPort
    _open: list[ProxyServer]

    @classmethod
    def to(cls, url: str) -> "Wire":
        parts = urlsplit(url)
        factory = _Tracking(parts.hostname or "127.0.0.1", parts.port or 5432)
        factory.open = []
        tcp = cast("IReactorTCP", reactor)
        listening = tcp.listenTCP(0, cast("ServerFactory", factory), interface="127.0.0.1")
        port = cast("IPv4Address", listening.getHost()).port
        user = f"{parts.username}:{parts.password}" if parts.password else parts.username
        return cls(f"postgresql://{user}@127.0.0.1:{port}{parts.path}", listening, factory.open)

    def stick(self) -> None:
        for transport in self._transports():
            transport.pauseProducing()  # type: ignore[attr-defined]

    def loosen(self) -> None:
        for transport in self._transports():
            transport.resumeProducing()  # type: ignore[attr-defined]

    async def close(self) -> None:
        await maybeDeferred(self._listening.stopListening)
        for transport in self._transports():
            transport.abortConnection()

    def _transports(self) -> list[ITCPTransport]:
        ends = [end for each in self._open for end in (each, each.peer) if end is not None]
        return [cast("ITCPTransport", end.transport) for end in ends if end.transport is not None]


@pytest.fixture
async def wire(databases: Databases) -> AsyncIterator[Wire]:
    if POSTGRES not in os.environ:
        pytest.skip(f"no PostgreSQL: {POSTGRES} is not set")
    made = Wire.to(databases.postgresql())
    yield made
    await made.close()


@pytest.fixture
async def process(
    wire: Wire, tmp_path: Path, specification: Specification | None
) -> AsyncIterator[ServerProcess]:
    async with processes(tmp_path, wire.url, specification, "homeserver") as (made,):
        yield made


async def test_requests_wait_and_are_answered_when_it_is_back(process: ServerProcess, wire: Wire) -> None:
    alice = await process.door().user("alice")
    room = await alice.create_room()
    wire.stick()
    path = room_path(room, "send", "m.room.message", "the same")
    asked = [Deferred.fromCoroutine(alice.put(path, {"msgtype": "m.text", "body": "once"})) for _ in range(5)]
    await deferLater(reactor, 1.0)
    assert not any(each.called for each in asked)
    wire.loosen()
    answers = [(await each).ok()["event_id"] for each in asked]
    assert len(set(answers)) == 1
    assert await alice.messages_in(room) == ["once"]


async def test_the_server_can_be_stopped_nevertheless(process: ServerProcess, wire: Wire) -> None:
    alice = await process.door().user("alice")
    (await alice.get(path_of("account", "whoami"))).ok()
    wire.stick()
    stuck = Deferred.fromCoroutine(alice.get(path_of("account", "whoami")))
    stuck.addErrback(lambda failure: None)
    await deferLater(reactor, 1.5)  # some of its loops have begun to ask, too
    started = time.monotonic()
    assert await process.stop() == 0
    assert time.monotonic() - started < 10
    assert not [record for record in process.complaints if record["level"] == "error"]
    await stuck
