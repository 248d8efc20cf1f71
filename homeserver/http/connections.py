"""All connections of a listener: how many, how long, and their end."""

import itertools
import secrets
from typing import Final, Protocol

import attrs
import structlog
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall

from homeserver.http.addresses import TrustedProxies
from homeserver.http.application import Application
from homeserver.http.limits import HttpLimits
from homeserver.http.response import ResponseHeads
from homeserver.http.signals import Signal
from homeserver.runtime.clock import Clock

SWEEP_SECONDS: Final = 1.0

_log = structlog.get_logger(__name__)


class Connection(Protocol):
    """What is to be known of a connection here; `deadline_ms` is by the monotonic clock."""

    deadline_ms: int

    @property
    def is_idle(self) -> bool:
        """Whether no request is being received or answered."""
        ...

    def is_broken(self) -> bool:
        """Whether the client has gone without anybody having been told."""
        ...

    def give_up(self) -> None:
        """The deadline has passed."""
        ...

    def close(self) -> None:
        """Close, once what was written is out."""
        ...

    def abort(self) -> None:
        """Cut the connection."""
        ...


class Connections:
    """The open connections.

    A timer per connection would have to be set anew for each request; one look at all of them per second is
    cheaper.
    """

    def __init__(self, limit: int, clock: Clock, timers: IReactorTime) -> None:
        self._limit = limit
        self._clock = clock
        self._timers = timers
        self._open: set[Connection] = set()
        self._emptied = Signal()
        self._sweep = LoopingCall(self.check_deadlines)
        self._sweep.clock = timers
        self.closing = Signal()

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: Connection) -> bool:
        """Take in a new connection, unless there are too many or the server is closing."""
        if len(self._open) >= self._limit or self.closing.has_fired:
            return False
        self._open.add(connection)
        if not self._sweep.running:
            self._sweep.start(SWEEP_SECONDS, now=False)
        return True

    def forget(self, connection: Connection) -> None:
        """The connection is lost."""
        self._open.discard(connection)
        if self._open:
            return
        if self._sweep.running:
            self._sweep.stop()
        if self.closing.has_fired:
            self._emptied.fire()

    def check_deadlines(self) -> None:
        """Give up the connections whose deadline has passed, and cut those that are broken."""
        now_ms = self._clock.monotonic_ms()
        for connection in list(self._open):
            try:
                if connection.deadline_ms <= now_ms:
                    connection.give_up()
                elif not connection.is_idle and connection.is_broken():
                    connection.abort()
            except Exception:  # noqa: BLE001 - as the comment below says
                # It must not keep the others from being looked at, now and in the next second.
                _log.exception("connection could not be closed")

    async def shut_down(self, patience_ms: int) -> None:
        """End all connections; returns when there are none.

        Those between two requests close now, the others after their response: who waits in an endpoint
        learns it by `Request.closing`. After `patience_ms` the rest is cut.
        """
        self.closing.fire()
        for connection in list(self._open):
            if connection.is_idle:
                connection.close()
        if not self._open:
            return
        out_of_patience = self._timers.callLater(patience_ms / 1000, self._abort_all)
        await self._emptied.wait()
        if out_of_patience.active():
            out_of_patience.cancel()

    def _abort_all(self) -> None:
        for connection in list(self._open):
            connection.abort()


@attrs.frozen(eq=False)
class Site:
    """What the connections of a listener share. `proxies` is None where no reverse proxy is expected."""

    application: Application
    connections: Connections
    limits: HttpLimits
    clock: Clock
    heads: ResponseHeads
    proxies: TrustedProxies | None = None
    _id_prefix: str = attrs.field(factory=lambda: secrets.token_hex(3))
    _counter: "itertools.count[int]" = attrs.field(factory=itertools.count)

    def next_request_id(self) -> str:
        """A name for a request, unlike that of any other request of any process."""
        return f"{self._id_prefix}-{next(self._counter)}"
