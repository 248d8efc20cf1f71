"""Exchanges with web servers over connections that are kept for the next one, within limits and in time."""

from collections.abc import Coroutine
from typing import Any, Final, Protocol, TypeVar

import attrs
import msgspec
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.defer import TimeoutError as OutOfPatience
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from homeserver import __version__
from homeserver.clients.errors import RemoteError
from homeserver.clients.http_responses import Response
from homeserver.clients.routes import ExchangeError, Route

T = TypeVar("T")

SAFE_S: Final = 5.0
"""For so long after its last use a connection is trusted to be open still with what cannot be repeated."""


class TransportLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What all exchanges of a process together may take up."""

    at_once_per_route: int = 8
    """Exchanges with one server at the same time; more wait for their turn."""

    waiting_per_route: int = 200
    """More than that are refused at once."""

    at_once: int = 1_000
    """Exchanges with all servers at the same time; more are refused, so that sockets are left for clients."""

    idle_per_route: int = 2

    idle: int = 100
    """Connections that are kept open though nothing is asked of them; the oldest go first."""

    idle_s: float = 25.0
    """How long one is kept. Shorter than servers usually do: who closes first must be we, or a request may
    get lost."""


class Connection(Protocol):
    """A connection for one exchange after the other; see `homeserver.clients.http_connections`."""

    is_open: bool
    lost: Deferred[None]
    """Fires when the connection is gone."""

    def exchange(self, request: bytes, most_bytes: int) -> Deferred[Response]:
        """Send a request, get its response with a body of up to `most_bytes`. Errors: ExchangeError."""
        ...

    def abort(self) -> None:
        """Close the connection at once."""
        ...


class Opener(Protocol):
    """Opens connections, to addresses that are allowed only."""

    @property
    def reactor(self) -> IReactorTime:
        """For deadlines."""
        ...

    async def open(self, route: Route) -> Connection:
        """A connection along `route`. Errors: ExchangeError."""
        ...


@attrs.define
class Exchange:
    """One request, as it is to be sent, and how much may come back.

    `party` is whom errors name. With `is_repeatable` it is sent once more if a connection that was kept open
    turns out to be closed. `is_unreached`: it has got stuck before there was a connection.
    """

    party: str
    request: bytes = attrs.field(repr=False)
    most_bytes: int
    is_repeatable: bool
    is_unreached: bool = True


class _Kept(msgspec.Struct, frozen=True):
    """An idle connection's route, and until when it is kept."""

    route: Route
    until_s: float


class HttpTransport:
    """The connections of one process to other servers."""

    def __init__(self, opener: Opener, limits: TransportLimits | None = None) -> None:
        self._opener = opener
        self._limits = limits or TransportLimits()
        # Both with what was used last at the end.
        self._idle: dict[Connection, _Kept] = {}
        self._idle_of: dict[Route, list[Connection]] = {}
        self._expiry: IDelayedCall | None = None
        self._turns: dict[Route, DeferredSemaphore] = {}
        self._running = 0

    @property
    def reactor(self) -> IReactorTime:
        """For deadlines."""
        return self._opener.reactor

    async def exchange(self, route: Route, exchange: Exchange) -> Response:
        """Send a request and get its response, whatever its status; without a deadline, see `within`.

        Errors: RemoteError.
        """
        exchange.is_unreached = False
        turns = self._turns.get(route)
        if turns is None:
            turns = self._turns[route] = DeferredSemaphore(self._limits.at_once_per_route)
        if len(turns.waiting) >= self._limits.waiting_per_route or self._running >= self._limits.at_once:
            raise RemoteError(exchange.party, "too many requests are waiting already", transient=True)
        try:
            await turns.acquire()
            self._running += 1
            try:
                return await self._exchange(route, exchange)
            finally:
                self._running -= 1
                turns.release()
        except ExchangeError as fault:
            too_large = fault.is_too_large
            raise RemoteError(
                exchange.party, str(fault), transient=not too_large, is_too_large=too_large
            ) from fault
        finally:
            if turns.tokens == turns.limit and not turns.waiting:
                self._turns.pop(route, None)

    def close(self) -> None:
        """Close the connections that are kept."""
        for connection in list(self._idle):
            self._forget(connection)
            connection.abort()
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    async def _exchange(self, route: Route, exchange: Exchange) -> Response:
        while kept := self._take(route, self._limits.idle_s if exchange.is_repeatable else SAFE_S):
            try:
                return await self._on(kept, route, exchange)
            except ExchangeError as fault:
                if not (fault.is_unanswered and exchange.is_repeatable):
                    raise
        exchange.is_unreached = True
        connection = await self._opener.open(route)
        exchange.is_unreached = False
        connection.lost.addCallback(lambda _: self._forget(connection))
        return await self._on(connection, route, exchange)

    async def _on(self, connection: Connection, route: Route, exchange: Exchange) -> Response:
        response = await connection.exchange(exchange.request, exchange.most_bytes)
        if connection.is_open:
            self._keep(connection, route)
        return response

    def _take(self, route: Route, within_s: float) -> Connection | None:
        """The connection of that route that was used last, if that was so many seconds ago at most."""
        kept = self._idle_of.get(route)
        if not kept:
            return None
        connection = kept[-1]
        if self._idle[connection].until_s < self.reactor.seconds() + self._limits.idle_s - within_s:
            return None
        self._forget(connection)
        return connection

    def _keep(self, connection: Connection, route: Route) -> None:
        same = self._idle_of.get(route, ())
        surplus = same[:1] if len(same) >= self._limits.idle_per_route else []
        if not surplus and len(self._idle) >= self._limits.idle:
            surplus = [next(iter(self._idle))]
        for each in surplus:
            self._forget(each)
            each.abort()
        self._idle[connection] = _Kept(route, self.reactor.seconds() + self._limits.idle_s)
        self._idle_of.setdefault(route, []).append(connection)
        self._await_expiry()

    def _await_expiry(self) -> None:
        """Have a timer for what has been idle for the longest time: one for all, since most are used before."""
        if self._expiry is None and self._idle:
            until_s = next(iter(self._idle.values())).until_s
            self._expiry = self.reactor.callLater(max(0.0, until_s - self.reactor.seconds()), self._expire)

    def _expire(self) -> None:
        self._expiry = None
        now_s = self.reactor.seconds()
        for connection in [each for each, kept in self._idle.items() if kept.until_s <= now_s]:
            self._forget(connection)
            connection.abort()
        self._await_expiry()

    def _forget(self, connection: Connection) -> None:
        kept = self._idle.pop(connection, None)
        if kept is None:
            return
        same = self._idle_of[kept.route]
        same.remove(connection)
        if not same:
            del self._idle_of[kept.route]


async def within(reactor: IReactorTime, ms: int, party: str, work: Coroutine[Deferred[Any], Any, T]) -> T:
    """The result of `work`, which is given up after so many milliseconds.

    Errors: those of `work`; RemoteError if it takes too long.
    """
    deferred = Deferred.fromCoroutine(work)
    deferred.addTimeout(ms / 1000, reactor)
    try:
        return await deferred
    except OutOfPatience:
        raise RemoteError(party, f"no answer within {ms / 1000:g} seconds", transient=True) from None


_TARGET_CHARACTERS: Final = frozenset(map(chr, range(0x21, 0x7F)))


def request_bytes(
    method: str, target: str, host: str, headers: dict[str, str], body: bytes | None = None
) -> bytes:
    """A request as it is sent; `target` is path and query, percent-encoded.

    Errors: ValueError for characters that would end a line early.
    """
    if not _TARGET_CHARACTERS.issuperset(target) or not target.startswith("/"):
        raise ValueError("the target of a request must be percent-encoded")
    if not _TARGET_CHARACTERS.issuperset(host):
        raise ValueError("a host has a character that it must not have")
    lines = [
        f"{method} {target} HTTP/1.1",
        f"Host: {host}",
        # There are firewalls that let nobody in who has no name.
        f"User-Agent: homeserver/{__version__}",
        "Accept-Encoding: identity",
    ]
    for name, value in headers.items():
        if not value.isprintable() or not value.isascii():
            raise ValueError(f"the header {name} has a character that it must not have")
        lines.append(f"{name}: {value}")
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + (body or b"")
