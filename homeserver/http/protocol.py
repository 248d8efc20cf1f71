"""One HTTP/1.1 connection: requests are read and answered strictly one after the other.

While a request is being answered, what arrives is held, unparsed and bounded; reading goes on so that a
client that goes away is noticed. Whatever makes the boundary between two requests doubtful ends the
connection.
"""

import sys
from collections.abc import AsyncGenerator, Callable
from contextvars import ContextVar
from typing import Final

import structlog
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

from homeserver.core.errors import MatrixError, Unknown
from homeserver.http.addresses import plain_address
from homeserver.http.connections import Site
from homeserver.http.errors import error_response, status_of
from homeserver.http.parser import Head, RequestParser
from homeserver.http.request import Request
from homeserver.http.response import Response, header_of
from homeserver.http.router import Match
from homeserver.http.writer import Transport, Writer, writer_for

NEVER: Final = sys.maxsize
DISCONNECTED: Final = 499
"""The status in log and metrics of a request whose client had gone before it was answered."""

# Named as structlog's `merge_contextvars` looks for it: binding by structlog's own function costs several
# times more.
_REQUEST_ID: ContextVar[str] = ContextVar("structlog_request")

_log = structlog.get_logger(__name__)


class HttpProtocol(Protocol):
    """A connection of `site`. When `deadline_ms` has passed, somebody calls `give_up`."""

    transport: Transport
    _writer: Writer

    def __init__(self, site: Site) -> None:
        self.deadline_ms = NEVER
        self._site = site
        self._parser = RequestParser(site.limits, self._accept)
        self._peer = ""
        self._path = ""
        self._query = ""
        self._match: Match | None = None
        self._request: Request | None = None
        self._answering: Deferred[None] | None = None
        self._written: Deferred[None] | None = None
        self._body_began_ms = 0
        self._held = b""
        self._receive: Callable[[bytes], None] | None = None
        self._reads = False
        self._streams = False
        self._owes_continue = False
        self._is_closing = False
        self._is_lost = False

    # Called by Twisted

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Wait for a first request, unless there are too many connections."""
        transport = self.transport
        transport.setTcpNoDelay(True)  # a response in parts is not to wait for acknowledgements
        transport.setTcpKeepAlive(True)  # a client that vanished ends its long poll
        self._peer = plain_address(str(transport.getPeer().host))  # type: ignore[no-untyped-call]  # Twisted's
        self._writer = writer_for(transport, self._on_written, self._on_progress)
        if self._site.connections.admit(self):
            self._set_deadline(self._site.limits.head_ms)
        else:
            self._writer.abort()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Read on, or hold what comes while a request is being answered."""
        if self._is_closing:
            return
        if self._request is None:
            self._read(data)
            return
        self._hold(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:  # noqa: ARG002, N802 - Twisted's name
        """Tell whoever works for this client that it is gone."""
        self._is_lost = True
        self._is_closing = True
        self.deadline_ms = NEVER
        self._site.connections.forget(self)
        if self._request is None:
            return
        self._request.disconnect()
        if self._written is not None:
            written, self._written = self._written, None
            written.errback(Failure(ConnectionLost()))
        elif self._streams and self._answering is not None:
            # The stream waits for its source. A response in the making, in contrast, is left to itself:
            # half of what it does may be done.
            self._answering.cancel()

    # Called by `Connections`

    @property
    def is_idle(self) -> bool:
        """Whether no request is being received or answered."""
        return self._request is None and self._parser.is_idle

    def is_broken(self) -> bool:
        """Whether the client has gone without Twisted having told."""
        return self._writer.is_broken()

    def give_up(self) -> None:
        """The deadline has passed."""
        if self._is_closing or self._request is not None:
            # Said goodbye, or the client does not take in its response.
            self.abort()
        elif self._parser.is_idle:
            self.close()
        else:
            self._refuse(Unknown("the request took too long to arrive", status=408))

    def close(self) -> None:
        """Close the connection once what was written is out."""
        self._is_closing = True
        self._set_deadline(self._site.limits.closing_ms)
        self._writer.close()

    def abort(self) -> None:
        """Cut the connection at once."""
        self._is_closing = True
        self._writer.abort()

    # Reading

    def _read(self, data: bytes) -> None:
        """Read `data` to its end, or to a request that cannot be answered at once."""
        parser = self._parser
        was_idle = parser.is_idle
        self._reads = True
        try:
            while data and not self._is_closing:
                data = parser.receive(data)
                if parser.is_complete:
                    self._begin()
                    if self._request is not None:
                        self._hold(data)
                        return
                    was_idle = True
        except MatrixError as error:
            self._refuse(error)
        finally:
            self._reads = False
        if not self._is_closing:
            self._expect_more(was_idle=was_idle)

    def _hold(self, data: bytes) -> None:
        """Keep what arrives while a request is being answered; or give it to who has taken over meanwhile."""
        if self._receive is not None:
            self._receive(data)
            return
        self._held += data
        if len(self._held) > self._site.limits.held_bytes:
            self.transport.pauseProducing()

    def _expect_more(self, *, was_idle: bool) -> None:
        """Set the deadline for the rest of a request, if one has begun."""
        limits = self._site.limits
        parser = self._parser
        if parser.head is None:
            if was_idle and not parser.is_idle:
                self._set_deadline(limits.head_ms)
            return
        if self._owes_continue:
            self._owes_continue = False
            if not parser.received_body_bytes and not self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n"):
                self.abort()  # a client that reads nothing
                return
        now = self._site.clock.monotonic_ms()
        earned_ms = parser.received_body_bytes * 1000 // limits.body_bytes_per_second
        self.deadline_ms = min(
            now + limits.body_stall_ms, self._body_began_ms + limits.body_stall_ms + earned_ms
        )

    def _accept(self, head: Head) -> int:
        """The header is complete: find the endpoint, whose limit the body must keep."""
        self._path, _, self._query = head.target.decode("ascii").partition("?")
        self._match = self._site.application.match(head.method, self._path)
        self._owes_continue = head.expects_continue
        if head.content_length or b"transfer-encoding" in head.headers:
            self._body_began_ms = self._site.clock.monotonic_ms()
        return self._match.body_limit

    def _refuse(self, error: MatrixError) -> None:
        """Answer what is no request, and read no more.

        Closing at once could take the answer away from a client that is still sending, so the client is
        given time to close; what it sends meanwhile is dropped.
        """
        self._is_closing = True
        self._set_deadline(self._site.limits.closing_ms)
        response = error_response(error)
        self._site.application.refused(self._peer, status_of(error), error.message)
        body = response.body if isinstance(response.body, bytes) else b""
        self._writer.write(self._site.heads.write(response, len(body), b"close") + body)
        self._writer.finish()

    # Answering

    def _begin(self) -> None:
        head = self._parser.head
        match = self._match
        assert head is not None  # noqa: S101 - for the type checker: the request is complete
        assert match is not None  # noqa: S101 - as above
        site = self._site
        self._request = request = Request(
            site.next_request_id(),
            head.method,
            self._path,
            self._query,
            head.headers,
            self._peer,
            self._parser.body,
            site.clock.monotonic_ms(),
            site.connections.closing,
            head.repeated,
        )
        if site.proxies is not None:
            request.client_ip = site.proxies.client_address(
                self._peer, request.header_values(b"x-forwarded-for")
            )
        self.deadline_ms = NEVER
        token = _REQUEST_ID.set(request.id)
        # The coroutine keeps the context of this moment, and with it the ID for its log lines.
        answering = Deferred.fromCoroutine(self._answer(request, match, head))
        _REQUEST_ID.reset(token)
        if self._request is request:
            self._answering = answering

    async def _answer(self, request: Request, match: Match, head: Head) -> None:
        """Have the request answered, write the response, and be ready for the next request."""
        status = DISCONNECTED
        keep_alive = False
        try:
            response = await self._site.application.respond(request, match)
            if not self._is_lost:
                # What follows a change of the protocol is no request.
                keep_alive = (
                    head.keep_alive
                    and response.receive is None
                    and not self._site.connections.closing.has_fired
                )
                if type(response.body) is bytes:
                    await self._send(response, response.body, head, keep_alive=keep_alive)
                else:
                    keep_alive &= await self._stream(response, head, keep_alive=keep_alive)
                status = response.status
        except (ConnectionLost, CancelledError):
            pass  # the client has gone: that is what the status says
        except Exception:  # noqa: BLE001 - whatever it is, the connection must not stay as it is
            # The response may be half written: only a cut connection tells the client.
            _log.exception("response failed", route=match.template)
            status = 500
            keep_alive = False
            if not self._is_lost:
                self.abort()
        self._site.application.finished(request, match, status)
        self._finish(keep_alive=keep_alive)

    def _finish(self, *, keep_alive: bool) -> None:
        self._request = self._answering = None
        self._streams = False
        if self._is_closing:
            return
        if not keep_alive or self._site.connections.closing.has_fired:
            self.close()
            return
        self._parser.next()
        self._set_deadline(self._site.limits.idle_ms)
        if self._reads or not self._held:
            return
        held, self._held = self._held, b""
        if len(held) > self._site.limits.held_bytes:
            self.transport.resumeProducing()
        self._read(held)

    async def _send(self, response: Response, body: bytes, head: Head, *, keep_alive: bool) -> None:
        """Write a whole response; returns when nothing of it has to wait any more."""
        length = None if response.status in (204, 304) else len(body)
        data = self._site.heads.write(response, length, _connection(head, keep_alive=keep_alive))
        if head.method != "HEAD" and length:
            data += body
        if not self._writer.write(data):
            await self._until_written()

    async def _stream(self, response: Response, head: Head, *, keep_alive: bool) -> bool:
        """Write a response in parts; whether another can follow on this connection."""
        parts = response.body
        assert not isinstance(parts, bytes)  # noqa: S101 - for the type checker: `_answer` has looked
        promised = header_of(response, b"content-length")
        in_chunks = promised is None and not head.is_http_1_0 and response.receive is None
        keep_alive &= in_chunks or promised is not None
        connection = _connection(head, keep_alive=keep_alive) if response.receive is None else b"Upgrade"
        start = self._site.heads.write(response, None, connection)
        if in_chunks:
            start = start[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
        try:
            if not self._writer.write(start):
                await self._until_written()
            if response.receive is not None:
                self._hand_over(response.receive)
            if head.method != "HEAD":
                sent = await self._send_parts(parts, in_chunks=in_chunks)
                if promised is not None and sent != int(promised):
                    raise ValueError(f"{sent} bytes were sent instead of {int(promised)}")
        finally:
            await parts.aclose()
        return keep_alive

    def _hand_over(self, receive: Callable[[bytes], None]) -> None:
        """From here on `receive` is given what arrives, beginning with what has been held."""
        self._receive = receive
        held, self._held = self._held, b""
        if len(held) > self._site.limits.held_bytes:
            self.transport.resumeProducing()
        receive(held)

    async def _send_parts(self, parts: AsyncGenerator[bytes, None], *, in_chunks: bool) -> int:
        """Write the parts, each when the client has taken in the one before; returns their size together."""
        sent = 0
        self._streams = True
        async for part in parts:
            if self._is_lost:
                raise ConnectionLost
            if not part:
                continue  # as a chunk it would mean the end
            sent += len(part)
            if not self._writer.write(b"%x\r\n%b\r\n" % (len(part), part) if in_chunks else part):
                await self._until_written()
        if in_chunks and not self._is_lost and not self._writer.write(b"0\r\n\r\n"):
            await self._until_written()
        return sent

    # Writing

    def _until_written(self) -> Deferred[None]:
        """Fires when the client has taken in what was written; fails with ConnectionLost."""
        self._on_progress()
        written: Deferred[None] = Deferred()
        self._written = written
        return written

    def _on_progress(self) -> None:
        if not self._is_closing:
            self._set_deadline(self._site.limits.write_stall_ms)

    def _on_written(self) -> None:
        if self._written is not None:
            self.deadline_ms = NEVER
            written, self._written = self._written, None
            written.callback(None)

    def _set_deadline(self, from_now_ms: int) -> None:
        self.deadline_ms = self._site.clock.monotonic_ms() + from_now_ms


def _connection(head: Head, *, keep_alive: bool) -> bytes | None:
    """The response's `Connection`, None where the version's default says it."""
    if not keep_alive:
        return b"close"
    return b"keep-alive" if head.is_http_1_0 else None
