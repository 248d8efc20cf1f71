"""What a server connects by: the reactor, with links that a test can cut and mend."""

from typing import Any, cast

from twisted.internet import reactor as installed
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectError
from twisted.internet.interfaces import IConnector
from twisted.internet.protocol import ClientFactory
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer, providedBy

from homeserver.app.build import Reactor


@implementer(IConnector)
class _Refused:
    """A connection that never comes about."""

    def __init__(self, factory: ClientFactory, host: str, port: int) -> None:
        self._factory = factory
        self._host = host
        self._port = port
        self._is_waiting = True
        factory.doStart()
        # As over a real network: not before the caller has gone on.
        cast("Any", installed).callLater(0, self._fail)

    def _fail(self) -> None:
        if self._is_waiting:
            self._is_waiting = False
            self._factory.clientConnectionFailed(cast("Any", self), Failure(ConnectError(string="cut")))
            self._factory.doStop()

    def stopConnecting(self) -> None:  # noqa: N802 - Twisted's name
        self._fail()

    def disconnect(self) -> None:
        self._fail()

    def connect(self) -> None:
        raise AssertionError("nobody connects anew")

    def getDestination(self) -> IPv4Address:  # noqa: N802 - Twisted's name
        return IPv4Address("TCP", self._host, self._port)


class Network:
    """The reactor as one server sees it. `cut` keeps the server from connecting to a port, `mend` ends that.

    A link has two directions, each of which belongs to the network of the server that connects.
    """

    def __init__(self) -> None:
        self._cut: set[int] = set()
        self._connectors: dict[int, list[Any]] = {}
        directlyProvides(self, *providedBy(installed))

    def __getattr__(self, name: str) -> Any:
        return getattr(installed, name)

    def connectTCP(  # noqa: N802 - Twisted's name
        self, host: str, port: int, factory: ClientFactory, *args: Any, **kwargs: Any
    ) -> Any:
        """Connect, unless the link is cut."""
        if port in self._cut:
            return _Refused(factory, host, port)
        connector = cast("Any", installed).connectTCP(host, port, factory, *args, **kwargs)
        known = self._connectors.setdefault(port, [])
        known[:] = [each for each in known if each.state != "disconnected"]
        known.append(connector)
        return connector

    def cut(self, port: int) -> None:
        """End the connections to the port of this machine, and refuse new ones."""
        self._cut.add(port)
        for connector in self._connectors.pop(port, ()):
            if connector.state == "connected":
                connector.transport.abortConnection()
            elif connector.state == "connecting":
                connector.stopConnecting()

    def mend(self, port: int) -> None:
        """The port can be reached again."""
        self._cut.discard(port)

    @property
    def as_reactor(self) -> Reactor:
        """In the eyes of mypy."""
        return cast("Reactor", self)
