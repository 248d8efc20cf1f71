"""Responses, and how they become bytes."""

import re
from collections.abc import AsyncGenerator, Callable
from email.utils import formatdate
from http import HTTPStatus
from typing import Final, TypeAlias

import attrs

from homeserver.runtime.clock import Clock

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]

JSON_HEADERS: Final[Headers] = ((b"Content-Type", b"application/json"), (b"Cache-Control", b"no-store"))
"""Of every JSON response. What a token may see belongs in no cache on the way."""

PREFLIGHT_HEADERS: Final[Headers] = ((b"Access-Control-Max-Age", b"86400"),)
"""Browsers keep the permission for a day, instead of asking before every request."""

CORS_HEADERS: Final[Headers] = (
    (b"Access-Control-Allow-Origin", b"*"),
    (b"Access-Control-Allow-Methods", b"GET, POST, PUT, DELETE, OPTIONS"),
    (b"Access-Control-Allow-Headers", b"X-Requested-With, Content-Type, Authorization"),
)
"""Client-server API, "Web Browser Clients"."""

_EVERY_RESPONSE: Final[Headers] = (*CORS_HEADERS, (b"X-Content-Type-Options", b"nosniff"))

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
# These say where a response ends and whether another can follow: the protocol's business.
_FRAMING = {b"transfer-encoding", b"connection", b"date"}


@attrs.frozen(eq=False)
class Response:
    """A response with a status and headers of its own.

    `body` is all of it, or an async generator of its parts, which is asked for the next one when the client
    has taken in the last, and is closed in any case, also if the client goes away. Parts of a body without
    a `Content-Length` among `headers` are sent as chunks. Every response gets the headers for CORS and
    `nosniff`; one in `headers` replaces them.

    `receive` is for the status 101: from then on the connection is the new protocol's, which is given what the client
    sends, and sends what `body` generates; it ends with that.
    """

    status: int
    headers: Headers = ()
    body: bytes | AsyncGenerator[bytes, None] = attrs.field(default=b"", repr=False)
    receive: Callable[[bytes], None] | None = attrs.field(default=None, repr=False)

    def __attrs_post_init__(self) -> None:
        if self.headers is not JSON_HEADERS:
            for name, value in self.headers:
                if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value) or name.lower() in _FRAMING:
                    raise ValueError(f"not a header of a response: {name!r}: {value!r}")


@attrs.frozen(eq=False)
class RawJson:
    """A body that is JSON already."""

    body: bytes = attrs.field(repr=False)
    status: int = 200


class ResponseHeads:
    """Writes status lines and headers; what responses have in common is kept ready for a second."""

    __slots__ = ("_clock", "_json_heads", "_second")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._second = -1
        self._json_heads: dict[int, bytes] = {}

    def write(self, response: Response, length: int | None, connection: bytes | None) -> bytes:
        """The head, up to the empty line.

        `length` is the body's in bytes, None if it is framed otherwise; `connection` is for `Connection`.
        """
        second = self._clock.now_ts() // 1000
        if second != self._second:
            self._second = second
            self._json_heads.clear()
        if response.headers is JSON_HEADERS:
            head = self._json_heads.get(response.status)
            if head is None:
                head = self._json_heads[response.status] = self._head(response)
        else:
            head = self._head(response)
        if connection is not None:
            head += b"Connection: " + connection + b"\r\n"
        if length is None:
            return head + b"\r\n"
        return b"%bContent-Length: %d\r\n\r\n" % (head, length)

    def _head(self, response: Response) -> bytes:
        """All that does not depend on the body's length or on the connection."""
        own = {name.lower() for name, _ in response.headers}
        lines = [
            b"HTTP/1.1 %d %b" % (response.status, _reason(response.status)),
            b"Date: " + formatdate(self._second, usegmt=True).encode(),
        ]
        for name, value in _EVERY_RESPONSE:
            if name.lower() not in own:
                lines.append(name + b": " + value)
        lines += [name + b": " + value for name, value in response.headers]
        return b"\r\n".join(lines) + b"\r\n"


def header_of(response: Response, name: bytes) -> bytes | None:
    """The value of the header `name` (in lower case) among the response's own, or None."""
    return next((value for key, value in response.headers if key.lower() == name), None)


def _reason(status: int) -> bytes:
    try:
        return HTTPStatus(status).phrase.encode()
    except ValueError:
        return b"Unknown"
