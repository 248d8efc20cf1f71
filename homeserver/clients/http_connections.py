"""Connections to web servers: HTTP/1.1 over TLS, one exchange after the other.

Loaded with the first connection: with TLS and all that looks at certificates it weighs 12 MB.
"""

from typing import Any, Final, cast

import msgspec
import structlog
from OpenSSL import SSL
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.defer import TimeoutError as OutOfPatience
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IConnector, IHandshakeListener
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from homeserver.clients.addresses import AddressPolicy, is_ip_literal
from homeserver.clients.http_responses import Response, ResponseError, ResponseParser
from homeserver.clients.reactor import ReactorForClients
from homeserver.clients.resolver import ResolutionError, Resolver
from homeserver.clients.routes import ExchangeError, Route
from homeserver.clients.tls import ClientTls, WrongIdentityError

MOST_ATTEMPTS: Final = 6
"""How many addresses are tried for one connection."""

ATTEMPT_S: Final = 10.0
"""How long one address may take to connect and to agree on TLS."""

_log = structlog.get_logger(__name__)


@implementer(IHandshakeListener)
class HttpConnection(Protocol):
    """One connection. `opened` fires with it once whom it leads to is certain, and fails if it is not."""

    def __init__(self, tls: ClientTls, name: str) -> None:
        self._tls = tls
        self._name = name
        self._parser: ResponseParser | None = None
        self._answer: Deferred[Response] | None = None
        self._has_bytes = False
        self.opened: Deferred[HttpConnection] = Deferred(self._give_up)
        self.is_open = False
        self.lost: Deferred[None] = Deferred()
        """Fires when the connection is gone."""

    def handshakeCompleted(self) -> None:  # noqa: N802 - Twisted's name
        """TLS is agreed on; nothing has been sent yet."""
        if self.opened.called:
            return
        tls = cast("TLSMemoryBIOProtocol", self.transport)
        try:
            self._tls.check(cast("SSL.Connection", tls.getHandle()), self._name)
        except WrongIdentityError as error:
            self.opened.errback(ExchangeError(str(error)))
            self.abort()
            return
        self.is_open = True
        self.opened.callback(self)

    def exchange(self, request: bytes, most_bytes: int) -> Deferred[Response]:
        """Send a request, get its response with a body of up to `most_bytes`; cancel it to give it up.

        Errors: ExchangeError.
        """
        self._parser = ResponseParser(most_bytes)
        self._has_bytes = False
        answer: Deferred[Response] = Deferred(self._give_up)
        self._answer = answer
        cast("Any", self.transport).write(request)
        return answer

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Bytes of the response."""
        if self._parser is None:
            # Nothing was asked: whatever this is, it must not be taken for the next response.
            self.abort()
            return
        self._has_bytes = True
        try:
            self._parser.feed(data)
        except ResponseError as fault:
            self._fail(ExchangeError(str(fault), is_too_large=fault.is_too_large))
            self.abort()
            return
        if self._parser.is_complete:
            self._settle()

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: N802 - Twisted's name
        """The connection is gone."""
        self.is_open = False
        if not self.opened.called:
            self.opened.errback(ExchangeError(f"TLS failed: {_reason(reason)}"))
        if self._parser is not None and reason.check(ConnectionDone) and self._parser.end():
            self._settle()
        self._fail(
            ExchangeError(f"the connection broke: {_reason(reason)}", is_unanswered=not self._has_bytes)
        )
        self.lost.callback(None)

    def abort(self) -> None:
        """Close the connection at once."""
        self.is_open = False
        if self.transport is not None:
            try:
                cast("Any", self.transport).abortConnection()
            except RuntimeError:
                # TLS says farewell; uvloop refuses that where the socket has been closed and this has yet to be told.
                _log.debug("a connection was closed already", exc_info=True)

    def _give_up(self, deferred: Deferred[Any]) -> None:
        """Who waited has cancelled; that, and not the end of the connection, is what it is to hear."""
        deferred.errback(CancelledError())
        self.abort()

    def _settle(self) -> None:
        parser, answer = self._parser, self._answer
        self._parser = self._answer = None
        if parser is None or answer is None:
            return
        if parser.is_last:
            self.abort()
        if not answer.called:
            answer.callback(parser.response())

    def _fail(self, fault: ExchangeError) -> None:
        answer, self._answer, self._parser = self._answer, None, None
        if answer is not None and not answer.called:
            answer.errback(fault)


class _Opening(ClientFactory):
    """Makes the one protocol of one attempt to connect."""

    noisy = False

    def __init__(self, connection: HttpConnection) -> None:
        self._connection = connection

    def buildProtocol(self, addr: IAddress | None) -> Protocol:  # noqa: ARG002, N802 - Twisted's name
        return self._connection

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:  # noqa: ARG002, N802 - Twisted's
        if not self._connection.opened.called:
            self._connection.opened.errback(ExchangeError(f"cannot connect: {_reason(reason)}"))


class _TlsFactory(TLSMemoryBIOFactory):
    """TLS that encrypts what is written at once: a request is one write, and need not wait for another."""

    protocol = TLSMemoryBIOProtocol


class Opener(msgspec.Struct, frozen=True):
    """Opens connections, to addresses that are allowed only."""

    reactor: ReactorForClients
    resolver: Resolver
    policy: AddressPolicy
    tls: ClientTls

    async def open(self, route: Route) -> HttpConnection:
        """A connection along `route`. Errors: ExchangeError."""
        fault: ExchangeError | None = None
        attempts = 0
        for target in route.targets:
            try:
                addresses = await self._addresses(target.host)
            except ExchangeError as error:
                fault = error
                continue
            for address in addresses:
                if attempts == MOST_ATTEMPTS:
                    break
                attempts += 1
                try:
                    return await self._connect(address, target.port, route.tls_name)
                except ExchangeError as error:
                    fault = error
        raise fault or ExchangeError("there is nowhere to connect to")

    async def _addresses(self, host: str) -> list[str]:
        """The addresses of a host that may be connected to; at least one. Errors: ExchangeError."""
        if is_ip_literal(host):
            found = [host]
        else:
            try:
                found = await self.resolver.addresses(host)
            except ResolutionError as error:
                raise ExchangeError(str(error)) from error
        if not found:
            raise ExchangeError(f"{host} has no address")
        # After the name has been resolved, and without resolving it again: a name may lead anywhere.
        allowed = [address for address in found if self.policy.allows(address)]
        if not allowed:
            raise ExchangeError(f"{host} leads to an address that must not be connected to")
        return allowed

    async def _connect(self, address: str, port: int, name: str) -> HttpConnection:
        if not 0 < port < 65_536:
            raise ExchangeError(f"{port} is no port")
        connection = HttpConnection(self.tls, name)
        try:
            creator = self.tls.creator(name)
        except SSL.Error as error:
            raise ExchangeError("the authorities' certificates cannot be loaded") from error
        factory = _TlsFactory(creator, isClient=True, wrappedFactory=_Opening(connection))
        factory.noisy = False
        connector = self.reactor.connectTCP(address, port, factory, timeout=ATTEMPT_S)
        opened = connection.opened
        opened.addTimeout(ATTEMPT_S, self.reactor)
        try:
            return await opened
        except OutOfPatience:
            raise ExchangeError(f"no connection within {ATTEMPT_S:g} seconds") from None
        finally:
            if not connection.is_open:
                connector.disconnect()


def _reason(failure: Failure) -> str:
    """Why a connection failed, in a few words."""
    error = failure.value
    if isinstance(error, SSL.Error):
        details = error.args[0] if error.args else ()
        if isinstance(details, list) and details:
            return str(details[0][-1])
    return str(error)[:200] or type(error).__name__
