"""A web server on loopback that answers what a test tells it to, byte by byte; and a DNS in the test's hands."""

import contextlib
import json
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import attrs
from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure

from homeserver.clients.addresses import AddressPolicy, is_ip_literal
from homeserver.clients.discovery import Discovery
from homeserver.clients.federation import FederationClient, Identity
from homeserver.clients.http_connections import Opener
from homeserver.clients.http_transport import HttpTransport, TransportLimits
from homeserver.clients.reactor import ReactorForClients
from homeserver.clients.resolver import ResolutionError, Service
from homeserver.clients.tls import ClientTls
from homeserver.clients.well_known import WellKnown
from homeserver.core.identifiers import ServerName
from homeserver.core.server_lists import ServerLists
from homeserver.core.signing import SigningKey
from homeserver.http.tls import RenewableCertificate
from homeserver.runtime.clock import Clock, SystemClock
from tests.federation.certificates import Authority

REACTOR = cast("ReactorForClients", reactor)

OWN_NAME = ServerName("caller.test")
OWN_KEY = SigningKey.generate("own", seed=bytes(range(32)))


@attrs.define
class Received:
    """A request as it came, and the TLS name that was asked for."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    sni: str | None


@attrs.frozen
class Raw:
    """Bytes to answer with; None for none. With `then_close` the connection is closed after them."""

    data: bytes | None
    then_close: bool = False


Answer = Callable[[Received], Raw]


def ok(document: object, *headers: str, status: str = "200 OK") -> Raw:
    """A response with JSON."""
    body = json.dumps(document).encode()
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return Raw("\r\n".join(lines).encode() + body)


class _Conversation(Protocol):
    def __init__(self, server: "ScriptedServer") -> None:
        self._server = server
        self._buffer = b""
        self.closed: Deferred[None] = Deferred()

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        self._server.connections += 1
        self._server.open.append(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        self._server.open.remove(self)
        self.closed.callback(None)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        self._buffer += data
        while b"\r\n\r\n" in self._buffer:
            head, rest = self._buffer.split(b"\r\n\r\n", 1)
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
            length = int(headers.get("content-length", "0"))
            if len(rest) < length:
                return
            self._buffer = rest[length:]
            method, target, _ = first.split(" ")
            tls = cast("SSL.Connection", cast("Any", self.transport).getHandle())
            name = tls.get_servername()
            received = Received(method, target, headers, rest[:length], name.decode() if name else None)
            self._server.requests.append(received)
            raw = self._server.answer(received)
            if raw.data is not None:
                cast("Any", self.transport).write(raw.data)
            if raw.then_close:
                cast("Any", self.transport).loseConnection()


class _Factory(Factory):
    noisy = False

    def __init__(self, server: "ScriptedServer") -> None:
        self._server = server

    def buildProtocol(self, addr: IAddress | None) -> Protocol:  # noqa: N802 - Twisted's name
        return _Conversation(self._server)


@attrs.define(eq=False)
class ScriptedServer:
    """Answers with `answer`, which a test may replace at any time."""

    answer: Answer
    port: int = 0
    requests: list[Received] = attrs.field(factory=list)
    connections: int = 0
    open: list[_Conversation] = attrs.field(factory=list)

    @property
    def name(self) -> ServerName:
        """Leads here without any look-up."""
        return ServerName(f"localhost:{self.port}")

    def cut(self) -> None:
        """Cut all connections."""
        for conversation in list(self.open):
            cast("Any", conversation.transport).abortConnection()


def certify(authority: Authority, *names: str) -> tuple[Path, Path]:
    """A certificate for host names and addresses, and its key."""
    return authority.certify(
        Path(tempfile.mkdtemp(dir=authority.file.parent)),
        names=tuple(name for name in names if not is_ip_literal(name)),
        addresses=tuple(name for name in names if is_ip_literal(name)),
    )


@contextlib.asynccontextmanager
async def scripted_server(
    certificate: tuple[Path, Path], answer: Answer, *, address: str = "127.0.0.1"
) -> AsyncIterator[ScriptedServer]:
    """A server that listens while it is used."""
    server = ScriptedServer(answer)
    tls = RenewableCertificate(*certificate, SystemClock())
    factory = TLSMemoryBIOFactory(tls, isClient=False, wrappedFactory=_Factory(server))
    factory.noisy = False
    port = REACTOR.listenTCP(0, cast("Any", factory), interface=address)
    server.port = cast("Any", port.getHost()).port
    try:
        yield server
    finally:
        server.cut()
        await cast("Any", port.stopListening())


@attrs.define
class FakeResolver:
    """A DNS of a test. What is in `silent` gets no answer."""

    hosts: dict[str, list[str]] = attrs.field(factory=lambda: {"localhost": ["127.0.0.1"]})
    records: dict[str, list[Service]] = attrs.field(factory=dict)
    silent: set[str] = attrs.field(factory=set)
    asked: list[str] = attrs.field(factory=list)

    async def addresses(self, host: str) -> list[str]:
        self.asked.append(host)
        if host in self.silent:
            raise ResolutionError(f"no answer about {host}")
        return self.hosts.get(host, [])

    async def services(self, name: str) -> list[Service]:
        self.asked.append(name)
        if name in self.silent:
            raise ResolutionError(f"no answer about {name}")
        return self.records.get(name, [])


@attrs.define
class Caller:
    """Everything on the calling side."""

    resolver: FakeResolver
    transport: HttpTransport
    well_known: WellKnown
    client: FederationClient


def caller(
    authority: Authority | None,
    *,
    resolver: FakeResolver | None = None,
    verify: bool = True,
    allow_private: bool = True,
    limits: TransportLimits | None = None,
    lists: ServerLists | None = None,
    clock: Clock | None = None,
    well_known_port: int = 443,
) -> Caller:
    """The calling side, which trusts the authority."""
    clock = clock or SystemClock()
    resolver = resolver or FakeResolver()
    tls = ClientTls(verify=verify, trusted_ca_file=None if authority is None else authority.file)
    transport = HttpTransport(Opener(REACTOR, resolver, AddressPolicy(allow_private), tls), limits)
    well_known = WellKnown(transport, clock, port=well_known_port)
    discovery = Discovery(resolver, well_known, lambda: 0.5)
    client = FederationClient(
        Identity(OWN_NAME, OWN_KEY), discovery, transport, lists or ServerLists.of(), clock
    )
    return Caller(resolver, transport, well_known, client)
