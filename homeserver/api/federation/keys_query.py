"""Server-server API, `keys_query.yaml`: keys of others, witnessed by this server."""

from typing import Final, cast

import msgspec

from homeserver.core.errors import BadJson, InvalidParam
from homeserver.core.identifiers import ServerName, parse_server_name
from homeserver.core.json import JsonObject, JsonValue
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.key_notary import KeyNotary

MAX_BODY: Final = 256 * 1024


class Criteria(msgspec.Struct):
    """What is wanted of a key."""

    minimum_valid_until_ts: int | None = None


class BulkQuery(msgspec.Struct):
    """Which keys of which servers; without a key, all."""

    server_keys: dict[str, dict[str, Criteria]]


class MinimumValidity(msgspec.Struct):
    """Until when the keys should be valid."""

    minimum_valid_until_ts: int | None = None


class KeysQuery(msgspec.Struct, frozen=True):
    """The notary's endpoints."""

    notary: KeyNotary

    @endpoint("GET", "/_matrix/key/v2/query/{server_name}", auth=Auth.NONE, limit=Limit.FEDERATION)
    async def perspectives_key_query(self, server_name: ServerName, query: MinimumValidity) -> JsonObject:
        """The keys of one server."""
        return _answer(await self.notary.query({server_name: query.minimum_valid_until_ts}))

    @endpoint("POST", "/_matrix/key/v2/query", auth=Auth.NONE, limit=Limit.FEDERATION, body_limit=MAX_BODY)
    async def bulk_perspectives_key_query(self, body: BulkQuery) -> JsonObject:
        """The keys of several servers."""
        wanted: dict[ServerName, int | None] = {}
        for name, keys in body.server_keys.items():
            try:
                server_name = parse_server_name(name)
            except InvalidParam:
                raise BadJson("$.server_keys has a key that is not a server name") from None
            wanted[server_name] = max(
                (
                    each.minimum_valid_until_ts
                    for each in keys.values()
                    if each.minimum_valid_until_ts is not None
                ),
                default=None,
            )
        return _answer(await self.notary.query(wanted))


def _answer(documents: list[JsonObject]) -> JsonObject:
    return {"server_keys": cast("list[JsonValue]", documents)}
