"""Opening ports."""

import errno
from typing import Protocol, cast

import attrs
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTCP
from twisted.internet.protocol import ServerFactory
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

from homeserver.http.server import HttpServer
from homeserver.http.tls import RenewableCertificate

BACKLOG = 1_024


class Address(Protocol):
    """What of a listener's configuration matters here: an IP address and a port (0 for any free one)."""

    @property
    def bind(self) -> str: ...  # noqa: D102 - said above

    @property
    def port(self) -> int: ...  # noqa: D102 - said above


@attrs.frozen(slots=False)
class ListenError(Exception):
    """A port cannot be opened; `str()` is one line for the operator. `remedy` says what to do."""

    bind: str
    port: int
    remedy: str

    def __str__(self) -> str:
        return f"cannot listen on port {self.port} of {self.bind}: {self.remedy}"


class _TlsFactory(TLSMemoryBIOFactory):
    """TLS that encrypts what is written at once: a response is one write, and need not wait for another."""

    protocol = TLSMemoryBIOProtocol


def listen(
    reactor: IReactorTCP,
    address: Address,
    server: HttpServer,
    certificate: RenewableCertificate | None = None,
) -> IListeningPort:
    """Accept connections for `server`, with TLS if there is a certificate.

    Errors: ListenError.
    """
    factory = server if certificate is None else _TlsFactory(certificate, False, server)  # noqa: FBT003
    try:
        return reactor.listenTCP(
            address.port,
            cast("ServerFactory", factory),  # Twisted's annotation is narrower than its documentation
            backlog=BACKLOG,
            interface=address.bind,
        )
    except CannotListenError as error:
        reason = error.socketError
        remedy = _REMEDIES.get(reason.errno or 0, f"{reason.strerror or reason}")
        raise ListenError(address.bind, address.port, remedy) from error


_REMEDIES = {
    errno.EADDRINUSE: "another program has it: stop that one, or configure another port",
    errno.EACCES: "not permitted: ports below 1024 need CAP_NET_BIND_SERVICE; configure another, with a "
    "reverse proxy in front",
    errno.EADDRNOTAVAIL: "this machine has no such address: configure one that it has, or :: for all",
}
