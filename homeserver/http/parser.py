"""HTTP/1.1 requests from bytes, one at a time. Spec: RFC 9112.

llhttp (through httptools) reads the syntax. Around it stands what it leaves open: limits, the version, the
target's form, `Host`, and the boundary between two requests, which is found here so that never more than one
request is parsed, whatever is pipelined.
"""

import re
from collections.abc import Callable
from typing import Final

import attrs
import httptools

from homeserver.core.errors import MatrixError, TooLarge, Unknown, Unrecognized
from homeserver.http.limits import HttpLimits

_END: Final = b"\r\n\r\n"
"""Ends a header, and the last chunk of a chunked body with its trailers."""

_ABSOLUTE_TARGET = re.compile(rb"https?://[^/?#]+", re.IGNORECASE)


@attrs.define(eq=False)
class Head:
    """The request line and the header of a request.

    Header names are in lower case. The values of a repeated header stand in `headers` joined by commas, and
    one by one in `repeated`. `content_length` is None for a chunked body and for none at all.
    """

    method: str
    target: bytes = attrs.field(repr=False)
    headers: dict[bytes, bytes] = attrs.field(repr=False)
    repeated: dict[bytes, list[bytes]] | None = attrs.field(repr=False)
    is_http_1_0: bool
    keep_alive: bool
    content_length: int | None
    expects_continue: bool


class RequestParser:
    """Takes in the bytes of a connection; `receive` stops at the end of each request until `next` is called.

    `body_limit_of` is asked once per request, when its header is complete, for the largest body in bytes.
    """

    __slots__ = (
        "_body_limit",
        "_body_limit_of",
        "_grown_body",
        "_headers",
        "_is_upgrade",
        "_limits",
        "_parser",
        "_refusal",
        "_remaining",
        "_repeated",
        "_repetitions",
        "_tail",
        "_target",
        "_unproductive_bytes",
        "body",
        "head",
        "is_complete",
    )

    def __init__(self, limits: HttpLimits, body_limit_of: Callable[[Head], int]) -> None:
        self._limits = limits
        self._body_limit_of = body_limit_of
        self._refusal: MatrixError | None = None
        self._body_limit = 0
        self._parser = httptools.HttpRequestParser(self)
        self.next()

    def next(self) -> None:
        """Be ready for the next request."""
        self.head: Head | None = None
        self.body = b""
        self.is_complete = False
        self._grown_body: bytearray | None = None
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._repeated: dict[bytes, list[bytes]] | None = None
        self._repetitions = 0
        self._is_upgrade = False
        # Of a body with Content-Length, what is still to come.
        self._remaining = 0
        # The last bytes seen, as far as they may be the beginning of `_END`.
        self._tail = b""
        # What came without any progress: the request up to the end of its header, or chunk extensions and
        # trailers.
        self._unproductive_bytes = 0

    @property
    def is_idle(self) -> bool:
        """Whether nothing of a request has arrived."""
        return self.head is None and not self._unproductive_bytes

    @property
    def received_body_bytes(self) -> int:
        """How much of the body is there."""
        return len(self.body) if self._grown_body is None else len(self._grown_body)

    def receive(self, data: bytes) -> bytes:
        """Take in `data` up to the end of the request; return what lies beyond it.

        Errors: MatrixError with its `status` if the bytes are no request, or more than is allowed. Nothing
        more can then be read from the connection, since nobody knows where a next request would begin.
        """
        while data and not self.is_complete:
            size = self._size_of_piece(data)
            piece, data = data[:size], data[size:]
            if self._remaining:
                self._remaining -= size
                if self._is_upgrade:
                    self._take_upgraded_body(piece)
                    continue
            self._feed(piece)
        return data

    def _size_of_piece(self, data: bytes) -> int:
        """How many bytes can be fed without running into a next request."""
        if self._remaining:
            return min(self._remaining, len(data))
        before = len(self._tail)
        window = self._tail + data if before else data
        end = window.find(_END)
        if end < 0:
            self._tail = window[-3:]
            return len(data)
        self._tail = b""
        return end + 4 - before

    def _feed(self, piece: bytes) -> None:
        self._unproductive_bytes += len(piece)
        try:
            self._parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            # The client would also speak another protocol; staying with HTTP/1.1 is our right.
            pass
        except httptools.HttpParserCallbackError:
            if self._refusal is None:
                raise  # a bug of ours
            raise self._refusal from None
        except httptools.HttpParserInvalidMethodError:
            raise Unrecognized("unknown HTTP method", status=405) from None
        except httptools.HttpParserError as error:
            raise _malformed(str(error)) from None
        if self.head is None:
            if self._unproductive_bytes > self._limits.target_bytes + 2 * self._limits.header_bytes:
                raise _header_too_large()
        elif self._unproductive_bytes > self._limits.header_bytes and not self.is_complete:
            raise _malformed("chunk extensions or trailers are too long")

    def _take_upgraded_body(self, piece: bytes) -> None:
        # After `Upgrade` llhttp believes that its work is done, so the body goes past it.
        self.on_body(piece)
        self.is_complete = not self._remaining
        if self.is_complete:
            self.on_message_complete()

    def _refuse(self, error: MatrixError) -> MatrixError:
        """Remember the error while llhttp, which knows only its own, unwinds."""
        self._refusal = error
        return error

    # Called by llhttp, in this order; an exception stops it.

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        if self.is_complete:
            raise self._refuse(_malformed("data follows the request"))
        self._target += url
        if len(self._target) > self._limits.target_bytes:
            raise self._refuse(TooLarge("the URL is too long", status=414))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A whole header line; blanks may follow the value."""
        if self.head is not None:
            return  # a trailer: permitted, and without meaning for us
        headers = self._headers
        name = name.lower()
        if name in headers:
            self._repeat(name, value.rstrip())
        else:
            headers[name] = value.rstrip()

    def _repeat(self, name: bytes, value: bytes) -> None:
        if name == b"host":
            raise self._refuse(_malformed("more than one Host"))
        self._repeated = self._repeated or {}
        values = self._repeated.setdefault(name, [self._headers[name]])
        values.append(value)
        self._repetitions += 1
        if self._repetitions > self._limits.header_count:
            raise self._refuse(_header_too_large())
        self._headers[name] += b", " + value

    def on_headers_complete(self) -> None:
        """The header is complete: check what llhttp does not, and the size of the body if it is known."""
        try:
            self.head = head = self._read_head()
            self._body_limit = self._body_limit_of(head)
            if (length := head.content_length) is not None:
                if length > self._body_limit:
                    raise _body_too_large(self._body_limit)
                self._remaining = length
        except MatrixError as error:
            raise self._refuse(error) from None
        self._unproductive_bytes = 0

    def _read_head(self) -> Head:
        headers = self._headers
        limits = self._limits
        if (
            self._unproductive_bytes - len(self._target) > limits.header_bytes
            or len(headers) + self._repetitions > limits.header_count
        ):
            raise _header_too_large()
        version = self._parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise _malformed("only HTTP/1.1 and HTTP/1.0 are spoken here", status=505)
        if version == "1.1" and b"host" not in headers:
            raise _malformed("no Host")
        method = self._parser.get_method().decode()
        if method == "CONNECT":
            raise Unrecognized("unknown HTTP method", status=405)
        self._is_upgrade = self._parser.should_upgrade()
        if (coding := headers.get(b"transfer-encoding")) is not None and (
            coding.lower() != b"chunked" or version == "1.0" or self._is_upgrade
        ):
            raise _malformed("unknown Transfer-Encoding")
        length = headers.get(b"content-length")
        expectation = headers.get(b"expect")
        if expectation is not None and expectation.lower() != b"100-continue":
            raise _malformed("unknown Expect", status=417)
        return Head(
            method,
            _origin_form(self._target, method),
            headers,
            self._repeated,
            version == "1.0",
            self._parser.should_keep_alive(),
            None if length is None else int(length),
            expectation is not None and version == "1.1",
        )

    def on_body(self, data: bytes) -> None:
        """A part of the body, chunking undone."""
        self._unproductive_bytes = 0
        if self._grown_body is not None:
            self._grown_body += data
        elif self.body:
            self._grown_body = bytearray(self.body)
            self._grown_body += data
        else:
            self.body = data
        if self.received_body_bytes > self._body_limit:
            raise self._refuse(_body_too_large(self._body_limit))

    def on_message_complete(self) -> None:
        """The request is complete, unless llhttp takes it for an upgrade and has left out the body."""
        self.is_complete = not self._remaining
        if self.is_complete and self._grown_body is not None:
            self.body = bytes(self._grown_body)
            self._grown_body = None


def _origin_form(target: bytes, method: str) -> bytes:
    """The target from its path on. Spec: RFC 9112, 3.2."""
    if not target.startswith(b"/"):
        absolute = _ABSOLUTE_TARGET.match(target)
        if absolute is not None:
            target = target[absolute.end() :]
            target = target if target.startswith(b"/") else b"/" + target
        elif not (target == b"*" and method == "OPTIONS"):
            raise _malformed("the request's target is no path")
    if b"#" in target:
        raise _malformed("the request's target has a fragment")
    return target


def _malformed(what: str, status: int = 400) -> MatrixError:
    return Unknown(f"malformed HTTP request: {what}", status=status)


def _header_too_large() -> MatrixError:
    return TooLarge("the HTTP header is too large", status=431)


def _body_too_large(limit: int) -> MatrixError:
    return TooLarge(f"the body is larger than {limit} bytes", status=413)
