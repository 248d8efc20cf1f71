"""The bus: it carries *position + topics* after each commit. It is a hint, no data; a lost message costs latency."""

from collections.abc import Callable, Collection
from typing import Protocol

Listener = Callable[[int, Collection[str]], None]
"""Called in the reactor thread with the position of the newest row, and the topics that were told."""


class BusError(Exception):
    """The bus cannot be reached when the server starts; the message says why and what to do."""


class Bus(Protocol):
    """Joins the processes of one server."""

    def publish(self, position: int, topics: Collection[str]) -> None:
        """Tell every process, this one included."""
        ...

    def subscribe(self, listener: Listener) -> None:
        """Be told of what any process publishes."""
        ...

    async def start(self) -> None:
        """Connect, where there is something to connect to. Errors: BusError."""
        ...

    async def stop(self) -> None:
        """Disconnect."""
        ...


class LocalBus:
    """The bus of a server that is one process."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []

    def publish(self, position: int, topics: Collection[str]) -> None:
        """Call every listener."""
        for listener in self._listeners:
            listener(position, topics)

    def subscribe(self, listener: Listener) -> None:
        """Be called at each `publish`."""
        self._listeners.append(listener)

    async def start(self) -> None:
        """Nothing to connect to."""

    async def stop(self) -> None:
        """Nothing to disconnect from."""
