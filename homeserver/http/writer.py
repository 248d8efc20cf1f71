"""Getting bytes to the client no faster than it takes them.

Twisted collects what is written and sends it in the reactor's next round, which costs more than all the
rest of a small request. Here a response goes to the socket at once; only what the socket does not take
waits, and is handed on in pieces as the client reads.
"""

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.internet.tcp import Server
from zope.interface import implementer

if TYPE_CHECKING:
    # Loaded where there is TLS.
    from twisted.protocols.tls import TLSMemoryBIOProtocol

PIECE: Final = 65_536

_NOTHING: Final = memoryview(b"")


Transport: TypeAlias = "Server | TLSMemoryBIOProtocol"
"""A TCP connection that Twisted has accepted, or TLS on top of one."""


class Writer(Protocol):
    """The way out of a connection. While `write` waits for the client, nothing else may be written."""

    def write(self, data: bytes) -> bool:
        """Send all of `data`; False if part of it must wait, in which case `on_written` follows later."""
        ...

    def is_broken(self) -> bool:
        """Whether the connection has been reset.

        Twisted tells by `connectionLost`, except with uvloop: there a reset that arrives together with data
        ends all events of the socket, and nobody is told.
        """
        ...

    def finish(self) -> None:
        """Tell the client that nothing more will come, as far as the transport can; reading goes on."""
        ...

    def close(self) -> None:
        """Close the connection when what was written is out."""
        ...

    def abort(self) -> None:
        """Cut the connection at once."""
        ...


def writer_for(
    transport: Transport, on_written: Callable[[], None], on_progress: Callable[[], None]
) -> Writer:
    """The way to write to `transport`.

    `on_written` is called when the client has taken in what `write` had to hold back, `on_progress` each
    time that it has taken in some of that.
    """
    if isinstance(transport, Server):
        return _SocketWriter(transport, on_written, on_progress)
    return _TlsWriter(transport, on_written, on_progress)


@implementer(IPullProducer)
class _SocketWriter:
    """Writes to a TCP connection without TLS.

    Twisted's own buffer for the connection is empty unless this object is its producer, so that writing
    past it keeps the order.
    """

    __slots__ = ("_on_progress", "_on_written", "_rest", "_transport")

    def __init__(
        self, transport: Server, on_written: Callable[[], None], on_progress: Callable[[], None]
    ) -> None:
        self._transport = transport
        self._on_written = on_written
        self._on_progress = on_progress
        self._rest = _NOTHING

    def write(self, data: bytes) -> bool:
        sent = self._transport.writeSomeData(data)
        if not isinstance(sent, int):
            self._transport.abortConnection()
            return False
        if sent == len(data):
            return True
        self._rest = memoryview(data)[sent:]
        # Twisted asks a pull producer at once, and then each time that its buffer has run empty.
        self._transport.registerProducer(self, False)  # noqa: FBT003 - Twisted's signature
        return False

    def is_broken(self) -> bool:
        return _is_reset(self._transport)

    def finish(self) -> None:
        self._transport.loseWriteConnection()

    def close(self) -> None:
        self._transport.loseConnection()

    def abort(self) -> None:
        self._transport.abortConnection()

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The client has taken in what it was given."""
        self._on_progress()
        if self._rest:
            piece, self._rest = self._rest[:PIECE], self._rest[PIECE:]
            self._transport.write(bytes(piece))
        else:
            self._transport.unregisterProducer()
            self._on_written()

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The connection is lost."""
        self._rest = _NOTHING


@implementer(IPushProducer)
class _TlsWriter:
    """Writes to a connection with TLS."""

    __slots__ = ("_is_paused", "_is_waiting", "_on_progress", "_on_written", "_rest", "_transport")

    def __init__(
        self,
        transport: "TLSMemoryBIOProtocol",
        on_written: Callable[[], None],
        on_progress: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._on_written = on_written
        self._on_progress = on_progress
        self._rest = _NOTHING
        self._is_paused = False
        self._is_waiting = False
        transport.registerProducer(self, True)  # noqa: FBT003 - Twisted's signature

    def write(self, data: bytes) -> bool:
        self._rest = memoryview(data)
        self._is_waiting = not self._push()
        return not self._is_waiting

    def is_broken(self) -> bool:
        return _is_reset(self._transport.transport)

    def finish(self) -> None:
        """TLS has no such thing in Twisted: the client goes by the response's length."""

    def close(self) -> None:
        # As long as there is a producer, Twisted would wait for more.
        self._transport.unregisterProducer()
        self._transport.loseConnection()

    def abort(self) -> None:
        self._transport.abortConnection()

    def _push(self) -> bool:
        """Hand on what the transport takes; whether that was all, and room is left."""
        while self._rest and not self._is_paused:
            piece, self._rest = self._rest[:PIECE], self._rest[PIECE:]
            self._transport.write(bytes(piece))
        return not self._rest and not self._is_paused

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The transport's buffer is full."""
        self._is_paused = True

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The client has taken in what was in the transport's buffer."""
        self._is_paused = False
        if self._is_waiting:
            self._on_progress()
            if self._push():
                self._is_waiting = False
                self._on_written()

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The connection is lost."""
        self._rest = _NOTHING
        self._is_paused = True


def _is_reset(transport: object) -> bool:
    if not isinstance(transport, Server) or not transport.connected:
        return False
    connection: socket.socket = transport.getHandle()
    return connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0
