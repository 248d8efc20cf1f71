"""HTTP/1.1 responses from bytes, within limits. Spec: RFC 9112.

llhttp (through httptools) reads the syntax, strictly; here stand the limits, and what is to be ignored.
"""

from collections.abc import Mapping
from typing import Final

import attrs
import httptools

MAX_HEAD_BYTES: Final = 65_536
"""Status line and header, those of interim responses among them."""

MAX_HEADERS: Final = 200


@attrs.frozen
class Response:
    """What came back. `headers` has names in lower case; a repeated header stands there joined by commas."""

    status: int
    headers: Mapping[bytes, bytes] = attrs.field(repr=False)
    body: bytes = attrs.field(repr=False)


class ResponseError(Exception):
    """The response is malformed (`is_too_large`: larger than is accepted)."""

    def __init__(self, message: str, *, is_too_large: bool = False) -> None:
        super().__init__(message)
        self.is_too_large = is_too_large


class ResponseParser:
    """Takes in the bytes of one response, whose body may have up to `most_bytes`."""

    __slots__ = (
        "_body",
        "_fault",
        "_has_head",
        "_head_bytes",
        "_headers",
        "_most_bytes",
        "_parser",
        "_size",
        "is_complete",
        "is_last",
    )

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._size = 0
        self._head_bytes = 0
        self._has_head = False
        self._fault: ResponseError | None = None
        self.is_complete = False
        self.is_last = True
        """Whether the connection can carry no further exchange; known once the response is complete."""
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        """Take in bytes. Errors: ResponseError, after which this is of no more use."""
        if not self._has_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            raise ResponseError("the response changes the protocol") from None
        except httptools.HttpParserError as error:
            raise self._fault or ResponseError(f"the response is not HTTP: {error}") from None
        if self._fault is not None:
            raise self._fault
        # Whatever came of the body beside the head is bounded by what one read of the socket gives.
        if not self._has_head and self._head_bytes > MAX_HEAD_BYTES:
            raise ResponseError("the response has too large a header", is_too_large=True)

    def end(self) -> bool:
        """The connection has been closed in good order; whether that completes the response."""
        if self._has_head and not self.is_complete:
            self.is_complete = not (self._headers.keys() & {b"content-length", b"transfer-encoding"})
        return self.is_complete

    def response(self) -> Response:
        """The complete response."""
        return Response(self._parser.get_status_code(), self._headers, b"".join(self._body))

    # What httptools calls.

    def on_message_begin(self) -> None:
        """A response begins; more than one is one too many."""
        if self.is_complete:
            self._fault = ResponseError("the response is followed by another")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which nobody needs."""
        if self._has_head:
            self._size += len(name) + len(value)
            self._check_size()
            return
        name = name.lower()
        before = self._headers.get(name)
        self._headers[name] = value if before is None else before + b", " + value
        if len(self._headers) > MAX_HEADERS:
            self._fault = ResponseError("the response has too many headers", is_too_large=True)

    def on_headers_complete(self) -> None:
        """The header is there: if it says how long the body is, that is known to be too long at once."""
        if self._parser.get_status_code() < 200:
            return
        self._has_head = True
        length = self._headers.get(b"content-length", b"")
        if length.isdigit() and (len(length) > 15 or int(length) > self._most_bytes):
            self._fault = self._too_large()
        if self._headers.get(b"content-encoding", b"identity").lower() != b"identity":
            self._fault = ResponseError("the response is compressed, which was not asked for")

    def on_body(self, data: bytes) -> None:
        """A part of the body."""
        self._size += len(data)
        self._check_size()
        if self._fault is None:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """The response is complete, unless it is an interim one."""
        if self._parser.get_status_code() < 200:
            self._headers.clear()
            return
        self.is_complete = True
        self.is_last = not self._parser.should_keep_alive()

    def _check_size(self) -> None:
        if self._size > self._most_bytes:
            self._fault = self._too_large()
            self._body.clear()

    def _too_large(self) -> ResponseError:
        return ResponseError(f"the response is larger than {self._most_bytes} bytes", is_too_large=True)
