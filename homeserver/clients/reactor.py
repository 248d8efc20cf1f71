"""The reactor, as clients see it."""

from twisted.internet.interfaces import IReactorTCP, IReactorTime


class ReactorForClients(IReactorTCP, IReactorTime):
    """What clients need of the reactor."""
