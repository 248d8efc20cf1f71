"""Requests to identity servers, in the name of users, or of this server. Spec: identity service API.

They are reached over HTTPS on port 443, unless their name has another, and like other servers never at private
addresses.
"""

import hashlib
from typing import Final

import attrs
import msgspec

from homeserver.clients.discovery import split
from homeserver.clients.errors import RemoteError
from homeserver.clients.federation import Identity
from homeserver.clients.http_transport import Exchange, HttpTransport, request_bytes, within
from homeserver.clients.results import result_of
from homeserver.clients.routes import Route, Target
from homeserver.clients.urls import HttpsUrl
from homeserver.core.errors import InvalidParam
from homeserver.core.hashes import decode_base64, encode_base64_url_safe
from homeserver.core.identifiers import ServerName, UserID, parse_user_id
from homeserver.core.json import JsonObject, canonical
from homeserver.core.threepids import Threepid, check_opaque
from homeserver.core.x_matrix import XMatrix, sign_request, signed_request

PORT: Final = 443

PATIENCE_MS: Final = 10_000
"""How long a request may take: a user waits for it."""

MOST_BYTES: Final = 65_536

MOST_KEYS: Final = 10
"""How many keys an invitation may have: two, usually."""

_URL_SAFE_TO_STANDARD: Final = str.maketrans("-_", "+/")

_V2: Final = "/_matrix/identity/v2"


@attrs.frozen
class Access:
    """An identity server, and the access token that a user has there."""

    id_server: ServerName
    token: str = attrs.field(repr=False)


class StoredInvite(msgspec.Struct, frozen=True):
    """An invitation that an identity server keeps. `content` is that of the event which stands for it in the room."""

    token: str
    content: JsonObject


class IdentityClient(msgspec.Struct, frozen=True):
    """Calls identity servers. Errors of all methods: RemoteError."""

    identity: Identity
    transport: HttpTransport

    async def bind(self, access: Access, *, sid: str, client_secret: str, user_id: UserID) -> Threepid:
        """Publish the identifier that was validated there as the user's."""
        body: JsonObject = {"sid": sid, "client_secret": client_secret, "mxid": user_id}
        answer = await self._as_user("POST", access, f"{_V2}/3pid/bind", body)
        medium, address = answer.get("medium"), answer.get("address")
        if not isinstance(medium, str) or not isinstance(address, str):
            raise _nonsense(access.id_server)
        return Threepid(medium, address)

    async def unbind(self, id_server: ServerName, user_id: UserID, threepid: Threepid) -> None:
        """Have the identifier published no longer; this server answers for its user by its signature."""
        uri = f"{_V2}/3pid/unbind"
        body: JsonObject = {
            "mxid": user_id,
            "threepid": {"medium": threepid.medium, "address": threepid.address},
        }
        data, own = canonical(body), self.identity
        signed = sign_request("POST", uri, own.server_name, id_server, data, own.key)
        try:
            await self._call("POST", id_server, uri, signed.header(), data)
        except RemoteError as error:
            if error.status not in (401, 403):
                raise
            # The usual identity server wants the destination to be called something else than servers call it.
            said = signed_request("POST", uri, own.server_name, None, body) | {"destination_is": id_server}
            other = XMatrix(own.server_name, None, own.key.key_id, own.key.sign(canonical(said)))
            await self._call("POST", id_server, uri, other.header(), data)

    async def find(self, access: Access, threepid: Threepid) -> UserID | None:
        """Whose identifier that is, as far as the identity server tells; None if nobody's."""
        details = await self._as_user("GET", access, f"{_V2}/hash_details", None)
        pepper, algorithms = details.get("lookup_pepper"), details.get("algorithms")
        if not isinstance(pepper, str) or not isinstance(algorithms, list) or "sha256" not in algorithms:
            raise _nonsense(access.id_server)
        # "the client converts the queries into strings separated by spaces in the format
        # `<address> <medium> <pepper>`"
        said = f"{threepid.address} {threepid.medium} {pepper}"
        digest = encode_base64_url_safe(hashlib.sha256(said.encode()).digest())
        query: JsonObject = {"algorithm": "sha256", "pepper": pepper, "addresses": [digest]}
        answer = await self._as_user("POST", access, f"{_V2}/lookup", query)
        mappings = answer.get("mappings")
        found = mappings.get(digest) if isinstance(mappings, dict) else None
        if found is None:
            return None
        try:
            return parse_user_id(str(found))
        except InvalidParam as error:
            raise _nonsense(access.id_server) from error

    async def store_invite(self, access: Access, invitation: JsonObject) -> StoredInvite:
        """Have an invitation kept until somebody turns out to have the identifier, who is told by mail."""
        answer = await self._as_user("POST", access, f"{_V2}/store-invite", invitation)
        try:
            return _stored(answer)
        except (InvalidParam, ValueError) as error:
            raise _nonsense(access.id_server) from error

    async def is_valid(self, url: HttpsUrl, public_key: str) -> bool:
        """Whether a key is still valid, asked at the URL that the identity server has given for it."""
        asked = url.with_query(public_key=public_key)
        answer = await self._within(url.server_name, asked.route, asked.get(MOST_BYTES))
        return answer.get("valid") is True

    async def _as_user(self, method: str, access: Access, path: str, body: JsonObject | None) -> JsonObject:
        if not access.token.isascii() or not access.token.isprintable() or " " in access.token:
            raise RemoteError(access.id_server, "that is no access token", transient=False)
        data = None if body is None else canonical(body)
        return await self._call(method, access.id_server, path, f"Bearer {access.token}", data)

    async def _call(
        self, method: str, id_server: ServerName, uri: str, authorization: str, data: bytes | None
    ) -> JsonObject:
        host, port = split(id_server)
        route = Route((Target(host, PORT if port is None else port),), id_server, host)
        headers = {"Accept": "application/json", "Authorization": authorization}
        request = request_bytes(method, uri, id_server, headers, data)
        exchange = Exchange(id_server, request, MOST_BYTES, is_repeatable=method == "GET")
        return await self._within(id_server, route, exchange)

    async def _within(self, id_server: ServerName, route: Route, exchange: Exchange) -> JsonObject:
        reactor = self.transport.reactor
        response = await within(reactor, PATIENCE_MS, id_server, self.transport.exchange(route, exchange))
        return result_of(id_server, response)


def _stored(answer: JsonObject) -> StoredInvite:
    """Errors: InvalidParam, ValueError."""
    token, name, keys = answer.get("token"), answer.get("display_name"), answer.get("public_keys")
    if not isinstance(token, str) or not isinstance(name, str) or not isinstance(keys, list):
        raise InvalidParam("it has no token, display_name or public_keys")
    check_opaque(token, "token")
    public_keys: list[JsonObject] = []
    for key in keys[:MOST_KEYS]:
        stated = key if isinstance(key, dict) else {}
        public_key, url = stated.get("public_key"), stated.get("key_validity_url")
        if not isinstance(public_key, str) or not isinstance(url, str):
            raise InvalidParam("a key lacks public_key or key_validity_url")
        decode_base64(public_key.translate(_URL_SAFE_TO_STANDARD))
        public_keys.append({"public_key": public_key, "key_validity_url": url})
    if not public_keys:
        raise InvalidParam("there is no key")
    content: JsonObject = {"display_name": name, **public_keys[0], "public_keys": list(public_keys)}
    return StoredInvite(token, content)


def _nonsense(id_server: ServerName) -> RemoteError:
    return RemoteError(id_server, "its answer is not what the specification says", transient=False)
