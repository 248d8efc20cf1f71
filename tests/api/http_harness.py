"""A server in this process on a free port, and a client that sends and receives bytes as they are."""

import contextlib
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any, cast

import attrs
from twisted.internet import reactor as installed_reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IListeningPort, IReactorTCP, IReactorTime
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.protocols.tls import TLSMemoryBIOProtocol
from twisted.python.failure import Failure

from homeserver.core.errors import UnknownToken
from homeserver.core.identifiers import DeviceID, ServerName, UserID
from homeserver.core.requester import Requester
from homeserver.http.addresses import TrustedProxies
from homeserver.http.application import Application, ServerAuthenticator
from homeserver.http.endpoints import endpoints_of
from homeserver.http.limits import HttpLimits
from homeserver.http.listen import listen
from homeserver.http.metrics import NoMetrics, RequestMetrics
from homeserver.http.protocol import HttpProtocol
from homeserver.http.rate_limits import InMemoryRateLimiter, RateLimiter
from homeserver.http.request import Request
from homeserver.http.router import Router
from homeserver.http.server import HttpServer
from homeserver.http.tls import RenewableCertificate, over_tls


class Reactor(IReactorTCP, IReactorTime):
    """What of the reactor is used here."""


REACTOR = cast("Reactor", installed_reactor)

TOKENS = {
    name: Requester(
        UserID(f"@{name}:x"),
        DeviceID("D"),
        name == "guest",
        name == "admin",
        None,
        name.encode(),
        is_rate_limited=name != "bridge",
    )
    for name in ("alice", "guest", "admin", "bridge")
}


@attrs.define
class ManualClock:
    """Time that stands still unless told otherwise."""

    now_ms: int = 1_000_000

    def now_ts(self) -> int:
        return 1_700_000_000_000 + self.now_ms

    def monotonic_ms(self) -> int:
        return self.now_ms


class KnownTokens:
    """Authenticates who is in `TOKENS`, and servers that name themselves."""

    async def authenticate(self, access_token: str, request: Request) -> Requester:
        if access_token not in TOKENS:
            raise UnknownToken
        return TOKENS[access_token]

    def is_unlimited(self, access_token: str) -> bool:
        return access_token == "bridge"

    async def authenticate_server(self, request: Request) -> ServerName:
        return ServerName(request.headers[b"authorization"].decode())


async def until(condition: Callable[[], object]) -> None:
    """Turn the reactor until something holds that it brings about."""
    while not condition():
        await deferLater(REACTOR, 0.001)


async def turns(count: int = 20) -> None:
    """Turn the reactor a few times: whatever was already on its way arrives."""
    for _ in range(count):
        await deferLater(REACTOR, 0)


@attrs.frozen
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


class RawClient(Protocol):
    """One connection. Bytes that arrived and were not asked for yet are in `received`."""

    def __init__(self) -> None:
        self.received = b""
        self.is_closed = False
        self.is_reset = False
        self._changed: list[Deferred[None]] = []

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        self.received += data
        self._wake()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        self.is_closed = True
        self.is_reset = not reason.check(ConnectionDone)
        self._wake()

    def _wake(self) -> None:
        changed, self._changed = self._changed, []
        for waiter in changed:
            waiter.callback(None)

    def send(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)

    def close(self) -> None:
        assert self.transport is not None
        self.transport.loseConnection()

    def stop_reading(self) -> None:
        cast("Any", self.transport).pauseProducing()

    def go_on_reading(self) -> None:
        cast("Any", self.transport).resumeProducing()

    async def _change(self) -> None:
        waiter: Deferred[None] = Deferred()
        self._changed.append(waiter)
        await waiter

    async def until(self, condition: Callable[[], object]) -> None:
        while not condition():
            assert not self.is_closed, f"closed after {self.received[-300:]!r}"
            await self._change()

    async def closed(self) -> None:
        """Wait until the server has closed the connection."""
        while not self.is_closed:
            # With uvloop, a reset that arrives together with data is not told.
            transport: Any = self.transport
            if isinstance(transport, TLSMemoryBIOProtocol):
                transport = transport.transport
            if transport.connected and transport.getHandle().getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                cast("Any", self.transport).abortConnection()
            await deferLater(REACTOR, 0.001)

    async def read_head(self) -> Reply:
        """The next response's status line and headers."""
        await self.until(lambda: b"\r\n\r\n" in self.received)
        head, self.received = self.received.split(b"\r\n\r\n", 1)
        status, *lines = head.decode().split("\r\n")
        headers = {}
        for line in lines:
            name, value = line.split(": ", 1)
            assert name.lower() not in headers
            headers[name.lower()] = value
        assert status.startswith("HTTP/1.1 ")
        return Reply(int(status.split()[1]), headers, b"")

    async def read_reply(self, *, has_body: bool = True) -> Reply:
        """The next response; `has_body` is False after HEAD."""
        reply = await self.read_head()
        size = int(reply.headers.get("content-length", "0")) if has_body else 0
        await self.until(lambda: len(self.received) >= size)
        body, self.received = self.received[:size], self.received[size:]
        return attrs.evolve(reply, body=body)

    async def ask(self, data: bytes) -> Reply:
        self.send(data)
        return await self.read_reply()

    async def get(self, path: str, *headers: str) -> Reply:
        return await self.ask(request("GET", path, *headers))


def request(method: str, path: str, *headers: str, body: bytes | None = None) -> bytes:
    """A request as bytes."""
    lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + (body or b"")


@attrs.define
class ServerUnderTest:
    server: HttpServer
    clock: ManualClock
    port: IListeningPort
    clients: list[RawClient]

    @property
    def number(self) -> int:
        """The port's number."""
        address = self.port.getHost()
        assert isinstance(address, IPv4Address)
        return address.port

    async def connect(self) -> RawClient:
        """A client that the server has accepted."""
        before = len(self.server.connections)
        client = await self.connect_only()
        await until(lambda: len(self.server.connections) > before)
        return client

    async def connect_only(self) -> RawClient:
        connected: Deferred[RawClient] = Deferred()

        class Client(RawClient):
            def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
                connected.callback(self)

        factory = ClientFactory()
        factory.protocol = Client
        factory.noisy = False
        REACTOR.connectTCP("127.0.0.1", self.number, factory)
        client = await connected
        self.clients.append(client)
        return client

    def connections(self) -> list[HttpProtocol]:
        return [cast("HttpProtocol", each) for each in self.server.connections._open]

    def pass_time(self, ms: int) -> None:
        """Let time pass, and the server notice."""
        self.clock.now_ms += ms
        self.server.connections.check_deadlines()


Serve = Callable[..., Awaitable[ServerUnderTest]]


@contextlib.asynccontextmanager
async def serving(
    *apis: object,
    limits: HttpLimits | None = None,
    body_limit: int = 1_000_000,
    rate_limiter: RateLimiter | None = None,
    metrics: RequestMetrics | None = None,
    proxies: TrustedProxies | None = None,
    certificate: RenewableCertificate | None = None,
    server_authenticator: ServerAuthenticator | None = None,
) -> AsyncGenerator[ServerUnderTest, None]:
    """A server for the endpoints of `apis`, until the block is left; then no connection may be left over."""
    clock = ManualClock()
    router = Router([each for api in apis for each in endpoints_of(api)], body_limit=body_limit)
    application = Application(
        router,
        KnownTokens(),
        rate_limiter or InMemoryRateLimiter({}, clock),
        clock,
        metrics or NoMetrics(),
        server_authenticator or KnownTokens(),
    )
    server = HttpServer(application, clock, REACTOR, limits=limits, proxies=proxies)

    @attrs.frozen
    class FreePort:
        bind: str = "127.0.0.1"
        port: int = 0

    port = listen(
        REACTOR, FreePort(), server, over_tls=None if certificate is None else over_tls(certificate)
    )
    under_test = ServerUnderTest(server, clock, port, [])
    try:
        yield under_test
    finally:
        await maybeDeferred(port.stopListening)
        for client in under_test.clients:
            if not client.is_closed:
                cast("Any", client.transport).abortConnection()
        while len(server.connections):
            server.connections.check_deadlines()
            await turns(1)
        for client in under_test.clients:
            await client.closed()
