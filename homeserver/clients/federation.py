"""Requests to other servers, signed. Spec: server-server API, "API standards" and "Authentication"."""

import random
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote, urlencode

import attrs
import msgspec
from twisted.internet.threads import deferToThread

from homeserver.clients.discovery import Discovery
from homeserver.clients.errors import RemoteError
from homeserver.clients.http_responses import Response
from homeserver.clients.http_transport import Exchange, HttpTransport, request_bytes, within
from homeserver.clients.results import LONGEST_ERROR, result_of
from homeserver.core.backoff import Backoff
from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import ServerName, parse_server_name
from homeserver.core.json import JsonObject, canonical
from homeserver.core.server_lists import ServerLists
from homeserver.core.signing import SigningKey
from homeserver.core.x_matrix import sign_request
from homeserver.runtime.caches import Cache
from homeserver.runtime.clock import Clock

PATIENCE_MS: Final = 30_000
"""How long a request may take in all, unless its caller says otherwise."""

MOST_BYTES: Final = 10 * 1024 * 1024
"""How large a response may be, unless the caller says otherwise."""

LARGE: Final = 256 * 1024
"""A response of more bytes is decoded beside the reactor."""

_UNREACHABLE: Final = Backoff(first_ms=2_000, cap_ms=300_000)

_JSON: Final = {"Accept": "application/json"}

Query = Mapping[str, str | Sequence[str]]


def federation_path(version: str, *parts: str) -> str:
    """`/_matrix/federation/<version>/...`, each part percent-encoded."""
    return f"/_matrix/federation/{version}/" + "/".join(quote(part, safe="") for part in parts)


def key_path(*parts: str) -> str:
    """`/_matrix/key/v2/...`, each part percent-encoded."""
    return "/_matrix/key/v2/" + "/".join(quote(part, safe="") for part in parts)


class _Trouble(msgspec.Struct, frozen=True):
    """A server that could not be reached: how often in a row, and until when it is left alone."""

    failures: int
    until_ms: int


class Identity(msgspec.Struct, frozen=True):
    """In whose name requests are made."""

    server_name: ServerName
    key: SigningKey


@attrs.frozen
class FederationClient:
    """Calls other servers: finds them, signs, and holds limits.

    A server that could not be reached is left alone for a while, which grows with each failure: requests to
    it fail at once. `reached` ends that.
    """

    identity: Identity
    discovery: Discovery
    transport: HttpTransport
    lists: ServerLists
    clock: Clock
    _troubles: Cache[ServerName, _Trouble] = attrs.field(factory=lambda: Cache(5_000))

    async def get(
        self,
        destination: ServerName,
        path: str,
        query: Query | None = None,
        *,
        patience_ms: int = PATIENCE_MS,
        most_bytes: int = MOST_BYTES,
        is_signed: bool = True,
    ) -> JsonObject:
        """GET `path`, which is percent-encoded. Keys are asked for without a signature of the request.

        Errors: RemoteError.
        """
        uri = _uri(path, query)
        return await self._call("GET", destination, uri, None, patience_ms, most_bytes, is_signed=is_signed)

    async def post(
        self,
        destination: ServerName,
        path: str,
        body: JsonObject,
        *,
        patience_ms: int = PATIENCE_MS,
        most_bytes: int = MOST_BYTES,
        is_signed: bool = True,
    ) -> JsonObject:
        """POST `body` to `path`. Errors: RemoteError; BadJson if the body has no canonical JSON."""
        return await self._call("POST", destination, path, body, patience_ms, most_bytes, is_signed=is_signed)

    async def put(
        self,
        destination: ServerName,
        path: str,
        body: JsonObject | bytes,
        query: Query | None = None,
        *,
        patience_ms: int = PATIENCE_MS,
        most_bytes: int = MOST_BYTES,
        is_probe: bool = False,
    ) -> JsonObject:
        """PUT `body` to `path`; as bytes it must be canonical JSON.

        A probe is sent even while the server is left alone: for a caller with a back-off of its own.
        Errors: RemoteError; BadJson if the body has no canonical JSON.
        """
        uri = _uri(path, query)
        return await self._call("PUT", destination, uri, body, patience_ms, most_bytes, is_probe=is_probe)

    def reached(self, server_name: ServerName) -> None:
        """A server has been heard of: it is no longer left alone."""
        self._troubles.drop([server_name])

    def is_left_alone(self, server_name: ServerName) -> bool:
        """Whether requests to a server fail at once, since it could not be reached a moment ago."""
        trouble = self._troubles.get(server_name)
        return trouble is not None and self.clock.monotonic_ms() < trouble.until_ms

    async def _call(
        self,
        method: str,
        destination: ServerName,
        uri: str,
        body: JsonObject | bytes | None,
        patience_ms: int,
        most_bytes: int,
        *,
        is_signed: bool = True,
        is_probe: bool = False,
    ) -> JsonObject:
        self._check(destination, is_probe=is_probe)
        data = body if body is None or isinstance(body, bytes) else canonical(body)
        headers = dict(_JSON)
        if is_signed:
            own = self.identity
            signature = sign_request(method, uri, own.server_name, destination, data, own.key)
            headers["Authorization"] = signature.header()
        exchange = Exchange(destination, b"", most_bytes, is_repeatable=method != "POST")
        try:
            response = await within(
                self.transport.reactor,
                patience_ms,
                destination,
                self._exchange(exchange, method, uri, headers, data),
            )
        except RemoteError as error:
            if error.transient and exchange.is_unreached:
                self._unreached(destination)
            raise
        self.reached(destination)
        if len(response.body) > LARGE:
            return await deferToThread(result_of, destination, response)
        return result_of(destination, response)

    async def _exchange(
        self, exchange: Exchange, method: str, uri: str, headers: dict[str, str], data: bytes | None
    ) -> Response:
        route = await self.discovery.route(ServerName(exchange.party))
        exchange.request = request_bytes(method, uri, route.host, headers, data)
        return await self.transport.exchange(route, exchange)

    def _check(self, destination: ServerName, *, is_probe: bool) -> None:
        """Refuse to call who must not, or need not, be called. Errors: RemoteError."""
        if destination == self.identity.server_name:
            raise RemoteError(destination, "that is this server itself", transient=False)
        try:
            parse_server_name(destination)
        except InvalidParam as error:
            raise RemoteError(destination[:LONGEST_ERROR], error.message, transient=False) from error
        if not self.lists.allows(destination):
            raise RemoteError(destination, "this server does not deal with that one", transient=False)
        if not is_probe and self.is_left_alone(destination):
            raise RemoteError(destination, "could not be reached a moment ago", transient=True)

    def _unreached(self, destination: ServerName) -> None:
        trouble = self._troubles.get(destination)
        failures = 1 if trouble is None else trouble.failures + 1
        delay_ms = _UNREACHABLE.delay_ms(failures, jitter=random.random())  # noqa: S311 - no secret
        self._troubles.put(destination, _Trouble(failures, self.clock.monotonic_ms() + delay_ms))


def _uri(path: str, query: Query | None) -> str:
    """Path and query as they are sent and signed."""
    return f"{path}?{urlencode(query, doseq=True, quote_via=quote, safe='')}" if query else path
