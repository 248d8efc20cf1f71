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
from twisted.internet.interfaces import IListeningPort, IPushProducer, IReactorTCP, ITCPTransport
from twisted.internet.protocol import ServerFactory, connectionDone
from twisted.protocols.portforward import ProxyClient, ProxyClientFactory, ProxyFactory, ProxyServer
from twisted.python.failure import Failure

from tests.api.server import path_of, room_path
from tests.databases import Databases
from tests.federation.harness import until
from tests.openapi import Specification
from tests.processes import ServerProcess, processes

POSTGRES = "HOMESERVER_TEST_POSTGRES"


READY = b"Z\x00\x00\x00\x05"
"""ReadyForQuery, but for its last byte: with it PostgreSQL ends the answer to whatever was asked."""


class _FarEnd(ProxyClient):
    """A connection to PostgreSQL."""

    peer: "_Side"

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        if data[-6:-1] == READY:
            self.peer.awaits = False
        super().dataReceived(data)  # type: ignore[no-untyped-call]  # Twisted's


class _FarEnds(ProxyClientFactory):
    protocol = _FarEnd
    noisy = False


class _Side(ProxyServer):
    """A connection of the server. What it asks is held back while nothing gets through."""

    factory: "_Network"
    clientProtocolFactory = _FarEnds  # noqa: N815 - Twisted's name

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        super().connectionMade()
        self.held: list[bytes] = []
        self.awaits = False
        self.factory.open.append(self)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        self.awaits = True
        if self.factory.is_stuck:
            self.held.append(data)
        else:
            super().dataReceived(data)  # type: ignore[no-untyped-call]  # Twisted's

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        self.factory.open.remove(self)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]  # as above


class _Network(ProxyFactory):
    protocol = _Side
    noisy = False
    is_stuck = False
    open: list[_Side]


@attrs.define(eq=False)
class Wire:
    """The network to PostgreSQL. While it is stuck nothing gets through, and connections stay open."""

    url: str
    _listening: IListeningPort
    _network: _Network

    @classmethod
    def to(cls, url: str) -> "Wire":
        parts = urlsplit(url)
        network = _Network(parts.hostname or "127.0.0.1", parts.port or 5432)
        network.open = []
        tcp = cast("IReactorTCP", reactor)
        listening = tcp.listenTCP(0, cast("ServerFactory", network), interface="127.0.0.1")
        port = cast("IPv4Address", listening.getHost()).port
        user = f"{parts.username}:{parts.password}" if parts.password else parts.username
        return cls(f"postgresql://{user}@127.0.0.1:{port}{parts.path}", listening, network)

    def stick(self) -> None:
        self._network.is_stuck = True
        for end in self._far_ends():
            cast("IPushProducer", end).pauseProducing()

    def loosen(self) -> None:
        self._network.is_stuck = False
        for side in self._network.open:
            held, side.held = side.held, []
            for data in held:
                side.dataReceived(data)
        for end in self._far_ends():
            cast("IPushProducer", end).resumeProducing()

    async def holds(self, connections: int) -> None:
        """Wait until so many connections have asked something that does not get through, or its answer does not."""

        async def is_so() -> bool:
            return sum(side.awaits for side in self._network.open) >= connections

        await until(is_so, what=f"that {connections} connections wait for an answer")

    async def close(self) -> None:
        await maybeDeferred(self._listening.stopListening)
        for side in list(self._network.open):
            for end in (side, side.peer):
                if end is not None and end.transport is not None:
                    cast("ITCPTransport", end.transport).abortConnection()

    def _far_ends(self) -> list[ITCPTransport]:
        peers = [side.peer for side in self._network.open if side.peer is not None]
        return [cast("ITCPTransport", peer.transport) for peer in peers if peer.transport is not None]


@pytest.fixture
async def wire(databases: Databases) -> AsyncIterator[Wire]:
    if POSTGRES not in os.environ:
        pytest.skip(f"no PostgreSQL: {POSTGRES} is not set")
    with databases.postgresql(for_processes=True) as url:
        made = Wire.to(url)
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
    await wire.holds(1)
    # The server is there; it only has no answer to these.
    (await process.door().anonymous().get("/_matrix/client/versions")).ok()
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
    await wire.holds(2)  # some of its loops have begun to ask, too
    started = time.monotonic()
    assert await process.stop() == 0
    assert time.monotonic() - started < 10
    assert not [record for record in process.complaints if record["level"] == "error"]
    await stuck
