"""Opening ports."""

import errno
from collections.abc import Callable
from typing import Protocol, TypeAlias, cast

import attrs
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorTCP
from twisted.internet.protocol import ServerFactory

from homeserver.http.server import HttpServer

BACKLOG = 1_024


class Address(Protocol):
    """What of a listener's configuration matters here: an IP address and a port (0 for any free one)."""

    @property
    def bind(self) -> str: ...  # noqa: D102 - said above

    @property
    def port(self) -> int: ...  # noqa: D102 - said above


OverTls: TypeAlias = Callable[[HttpServer], IProtocolFactory]
"""Puts TLS below a server; see `homeserver.http.tls`."""


@attrs.frozen(slots=False)
class ListenError(Exception):
    """A port cannot be opened; `str()` is one line for the operator. `remedy` says what to do."""

    bind: str
    port: int
    remedy: str

    def __str__(self) -> str:
        return f"cannot listen on port {self.port} of {self.bind}: {self.remedy}"


class CertificateError(Exception):
    """A certificate cannot be used; the message names the file and what to do."""


def listen(
    reactor: IReactorTCP, address: Address, server: HttpServer, *, over_tls: OverTls | None = None
) -> IListeningPort:
    """Accept connections for `server`, `over_tls` if that is given.

    Errors: ListenError.
    """
    factory = server if over_tls is None else over_tls(server)
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
