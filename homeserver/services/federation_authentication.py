"""Who made a request of the server-server API. Spec: server-server API, "Request Authentication"."""

from collections import Counter
from collections.abc import Callable
from typing import Final, Protocol

import attrs

from homeserver.core.endpoint_errors import InvalidSignature
from homeserver.core.errors import Forbidden, InvalidParam, LimitExceeded, Unauthorized
from homeserver.core.identifiers import ServerName, parse_server_name
from homeserver.core.json import JsonObject
from homeserver.core.server_keys import is_key_id
from homeserver.core.server_lists import ServerLists
from homeserver.core.signing import ALGORITHM, verify_json
from homeserver.core.x_matrix import XMatrix, is_x_matrix, parse, signed_request

MOST_HEADERS: Final = 4
"""Of a server with several keys, a header each."""


MOST_EXAMINED: Final = 100
"""Of one address at the same time. Keys that are known take no time worth mentioning."""

MOST_STRANGERS: Final = 300
"""So many claims at the same time, of whatever addresses, and only servers that share a room are heard beside them.
Well below what the process asks of all servers together."""

RETRY_AFTER_MS: Final = 5_000


class SignedRequest(Protocol):
    """What there must be of a request; path and query as sent, the query without its question mark."""

    @property
    def method(self) -> str:
        """As sent."""
        ...

    @property
    def path(self) -> str:
        """As sent."""
        ...

    @property
    def query(self) -> str:
        """As sent."""
        ...

    @property
    def client_ip(self) -> str:
        """The address that it came from."""
        ...

    @property
    def body(self) -> bytes:
        """All of it."""
        ...

    def header_values(self, name: bytes) -> list[bytes]:
        """The values of a header."""
        ...

    def json(self) -> JsonObject:
        """The body as JSON object. Errors: NotJson, BadJson."""
        ...


class CurrentKeys(Protocol):
    """Knows the keys of servers."""

    async def current(self, server_name: ServerName, key_id: str) -> bytes | None:
        """A key with which a server may sign requests now; None if there is no such one."""
        ...


class KnownServers(Protocol):
    """Knows which servers this one has to do with."""

    async def shares_room(self, server_name: ServerName) -> bool:
        """Whether the server is in a room that is known here."""
        ...


@attrs.frozen
class FederationAuthentication:
    """Checks signatures of requests. Each of `heard_of` is called with each server that has shown to be itself.

    Who claims to be a server has its keys fetched by that: no address has more than a few such claims examined
    at once, and made-up names from many addresses take nothing from the servers that share rooms with this one.
    """

    server_name: ServerName
    keys: CurrentKeys
    lists: ServerLists
    known: KnownServers
    heard_of: list[Callable[[ServerName], None]] = attrs.field(factory=list)
    _examined: Counter[str] = attrs.field(factory=Counter)

    async def authenticate_server(self, request: SignedRequest) -> ServerName:
        """The server that signed the request.

        Errors: Unauthorized if it is not signed, not by a current key of that server, or for another server;
        Forbidden if this server does not deal with that one; LimitExceeded; NotJson, BadJson.
        """
        headers = self._headers(request)
        origin = _origin(headers)
        if not self.lists.allows(origin):
            raise Forbidden("this server does not deal with yours")
        for header in headers:
            # "If this property is included, but the value does not match the receiving server's name, the
            # receiving server must deny the request with an HTTP status code 401"
            if header.destination is not None and header.destination != self.server_name:
                raise Unauthorized("the request is signed for another server")
        content = request.json() if request.body else None
        uri = f"{request.path}?{request.query}" if request.query else request.path
        for header in headers:
            signed = signed_request(request.method, uri, origin, header.destination, content)
            if await self._is_signed(origin, header, signed, request.client_ip):
                for tell in self.heard_of:
                    tell(origin)
                return origin
        raise Unauthorized(f"the request is not signed with a current key of {origin}")

    def _headers(self, request: SignedRequest) -> list[XMatrix]:
        """What the headers say that use a key of a known kind; at least one."""
        values = [value.decode("latin-1") for value in request.header_values(b"authorization")]
        values = [value for value in values if is_x_matrix(value)]
        if not values:
            raise Unauthorized("the request is not signed: it lacks Authorization: X-Matrix")
        if len(values) > MOST_HEADERS:
            raise Unauthorized("the request has too many Authorization headers")
        headers = [parse(value) for value in values]
        usable = [each for each in headers if is_key_id(each.key) and each.key.startswith(f"{ALGORITHM}:")]
        if not usable:
            raise Unauthorized("the request is signed with a key of an unknown kind")
        return usable

    async def _is_signed(
        self, origin: ServerName, header: XMatrix, signed: JsonObject, client_ip: str
    ) -> bool:
        if self._examined[client_ip] >= MOST_EXAMINED:
            raise LimitExceeded(retry_after_ms=RETRY_AFTER_MS)
        if self._examined.total() >= MOST_STRANGERS and not await self.known.shares_room(origin):
            raise LimitExceeded(retry_after_ms=RETRY_AFTER_MS)
        self._examined[client_ip] += 1
        try:
            key = await self.keys.current(origin, header.key)
        finally:
            self._examined[client_ip] -= 1
            if not self._examined[client_ip]:
                del self._examined[client_ip]
        if key is None:
            return False
        signed["signatures"] = {origin: {header.key: header.signature}}
        try:
            verify_json(signed, origin, header.key, key)
        except InvalidSignature:
            return False
        return True


def _origin(headers: list[XMatrix]) -> ServerName:
    """The one server that all headers are of."""
    names = {header.origin for header in headers}
    if len(names) != 1:
        raise Unauthorized("the Authorization headers name different origins")
    try:
        return parse_server_name(names.pop())
    except InvalidParam:
        raise Unauthorized("the origin is not a server name") from None
