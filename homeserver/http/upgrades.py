"""How an HTTP request becomes a WebSocket. Spec: RFC 6455, 4.2."""

import base64
import binascii
import hashlib
from collections.abc import AsyncGenerator, Callable
from enum import IntEnum
from typing import Final

from homeserver.core.errors import Unknown
from homeserver.http.errors import error_response
from homeserver.http.request import Request
from homeserver.http.response import Response

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_VERSION: Final = b"13"


class Close(IntEnum):
    """Why a conversation ends. Spec: RFC 6455, 7.4.1; from 4000 on the meaning is the application's."""

    NORMAL = 1000
    GOING_AWAY = 1001
    UNSUPPORTED = 1003
    POLICY = 1008
    TOO_LARGE = 1009
    INTERNAL = 1011
    TRY_LATER = 1013


def upgrade(
    request: Request, receive: Callable[[bytes], None], frames: AsyncGenerator[bytes, None]
) -> Response:
    """The response by which the connection becomes a WebSocket: `receive` gets what comes, `frames` is what is sent.

    A request that does not ask for a WebSocket as it should is refused (426, 400), and told the version to ask for.
    """
    try:
        accept = _accept(request)
    except Unknown as error:
        refusal = error_response(error)
        headers = (*refusal.headers, (b"Sec-WebSocket-Version", _VERSION))
        return Response(refusal.status, headers, refusal.body)
    headers = ((b"Upgrade", b"websocket"), (b"Sec-WebSocket-Accept", accept))
    return Response(101, headers, frames, receive=receive)


def _accept(request: Request) -> bytes:
    """The answer to the client's key. Errors: Unknown (426, 400)."""
    headers = request.headers
    names = {name.strip().lower() for name in headers.get(b"connection", b"").split(b",")}
    if (
        request.method != "GET"
        or headers.get(b"upgrade", b"").lower() != b"websocket"
        or b"upgrade" not in names
    ):
        raise Unknown("this is a WebSocket: ask for an upgrade of the connection", status=426)
    if headers.get(b"sec-websocket-version") != _VERSION:
        raise Unknown("only version 13 of WebSockets is spoken here", status=426)
    key = headers.get(b"sec-websocket-key", b"")
    try:
        is_key = len(base64.b64decode(key, validate=True)) == 16
    except binascii.Error:
        is_key = False
    if not is_key:
        raise Unknown("Sec-WebSocket-Key is no key", status=400)
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())
