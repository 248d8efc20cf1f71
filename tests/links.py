"""Ways to servers that can be cut and mended, whatever speaks through them."""

from typing import cast

import attrs
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorTCP, ITCPTransport
from twisted.internet.protocol import ServerFactory
from twisted.protocols.portforward import ProxyFactory, ProxyServer


@attrs.define(eq=False)
class Link:
    """A port of this machine that leads to another one; `own_port` stays the same once it has been mended."""

    host: str
    port: int
    own_port: int = 0
    _listening: IListeningPort | None = None
    _open: list[ProxyServer] = attrs.field(factory=list)

    def mend(self) -> None:
        """Accept connections."""
        if self._listening is not None:
            return
        factory = _Tracking(self.host, self.port)
        factory.open = self._open
        tcp = cast("IReactorTCP", reactor)
        listening = tcp.listenTCP(self.own_port, cast("ServerFactory", factory), interface="127.0.0.1")
        self.own_port = cast("IPv4Address", listening.getHost()).port
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
