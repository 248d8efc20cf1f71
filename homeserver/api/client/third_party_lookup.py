"""Client-server API, `third_party_lookup.yaml`: other networks, which application services bridge.

There are no bridges, so there are no networks: nothing is found, and no protocol is known.
"""

import msgspec

from homeserver.core.errors import NotFound
from homeserver.core.identifiers import parse_room_alias, parse_user_id
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, endpoint
from homeserver.http.response import RawJson

NOTHING = RawJson(b"[]")


class AliasQuery(msgspec.Struct):
    """Of which room the places in other networks are wanted."""

    alias: str


class UserQuery(msgspec.Struct):
    """Of which user the accounts in other networks are wanted."""

    userid: str


class ThirdPartyLookup(msgspec.Struct, frozen=True):
    """Lookups in other networks."""

    @endpoint("GET", "/_matrix/client/v3/thirdparty/protocols", auth=Auth.USER)
    async def get_protocols(self, requester: Requester) -> JsonObject:
        """All protocols: none."""
        del requester
        return {}

    @endpoint("GET", "/_matrix/client/v3/thirdparty/protocol/{protocol}", auth=Auth.USER)
    async def get_protocol_metadata(self, requester: Requester, protocol: str) -> JsonObject:
        """One protocol."""
        del requester
        raise _unknown(protocol)

    @endpoint("GET", "/_matrix/client/v3/thirdparty/location/{protocol}", auth=Auth.USER)
    async def query_location_by_protocol(self, requester: Requester, protocol: str) -> JsonObject:
        """Rooms that lead to a place of another network."""
        del requester
        raise _unknown(protocol)

    @endpoint("GET", "/_matrix/client/v3/thirdparty/user/{protocol}", auth=Auth.USER)
    async def query_user_by_protocol(self, requester: Requester, protocol: str) -> JsonObject:
        """Users that stand for one of another network."""
        del requester
        raise _unknown(protocol)

    @endpoint("GET", "/_matrix/client/v3/thirdparty/location", auth=Auth.USER)
    async def query_location_by_alias(self, requester: Requester, query: AliasQuery) -> RawJson:
        """Places of other networks that a room leads to."""
        del requester
        parse_room_alias(query.alias)
        return NOTHING

    @endpoint("GET", "/_matrix/client/v3/thirdparty/user", auth=Auth.USER)
    async def query_user_by_id(self, requester: Requester, query: UserQuery) -> RawJson:
        """Users of other networks that a user stands for."""
        del requester
        parse_user_id(query.userid)
        return NOTHING


def _unknown(protocol: str) -> NotFound:
    return NotFound(f"No network of the protocol {protocol} is bridged")
