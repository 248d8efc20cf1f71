"""A listener's factory of connections."""

from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory

from homeserver.http.addresses import TrustedProxies
from homeserver.http.application import Application
from homeserver.http.connections import Connections, Site
from homeserver.http.limits import HttpLimits
from homeserver.http.protocol import HttpProtocol
from homeserver.http.response import ResponseHeads
from homeserver.runtime.clock import Clock


class HttpServer(Factory):
    """Serves an application over HTTP/1.1, to be given to `listen`.

    `timers` is the reactor. `proxies` are those whose `X-Forwarded-For` is believed, None for none.
    """

    noisy = False

    def __init__(
        self,
        application: Application,
        clock: Clock,
        timers: IReactorTime,
        *,
        limits: HttpLimits | None = None,
        proxies: TrustedProxies | None = None,
    ) -> None:
        limits = limits or HttpLimits()
        self.connections = Connections(limits.connections, clock, timers)
        self._site = Site(application, self.connections, limits, clock, ResponseHeads(clock), proxies)

    def buildProtocol(self, addr: IAddress | None) -> HttpProtocol:  # noqa: ARG002, N802 - Twisted's name
        """A connection that has just been accepted."""
        return HttpProtocol(self._site)
