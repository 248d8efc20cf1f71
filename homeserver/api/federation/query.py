"""Server-server API, `query.yaml`: what other servers may know of aliases and users."""

import msgspec

from homeserver.core.errors import Unrecognized
from homeserver.core.identifiers import RoomID, ServerName, parse_room_alias, parse_user_id
from homeserver.core.json import JsonObject
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.federation_queries import FederationQueries


class RoomDirectoryQuery(msgspec.Struct):
    """Which alias."""

    room_alias: str


class ProfileQuery(msgspec.Struct):
    """Whose profile, and which field of it; `None` for all."""

    user_id: str
    field: str | None = None


class QueryRoomDirectoryResponse(msgspec.Struct):
    """The room, and servers that are in it."""

    room_id: RoomID
    servers: list[ServerName]


class Query(msgspec.Struct, frozen=True):
    """Questions of other servers."""

    queries: FederationQueries

    @endpoint("GET", "/_matrix/federation/v1/query/directory", auth=Auth.SERVER, limit=Limit.FEDERATION)
    async def query_room_directory(self, query: RoomDirectoryQuery) -> QueryRoomDirectoryResponse:
        """Where an alias of this server leads."""
        found = await self.queries.room_under(parse_room_alias(query.room_alias))
        return QueryRoomDirectoryResponse(found.room_id, list(found.servers))

    @endpoint("GET", "/_matrix/federation/v1/query/profile", auth=Auth.SERVER, limit=Limit.FEDERATION)
    async def query_profile(self, query: ProfileQuery) -> JsonObject:
        """The profile of a user of this server."""
        return await self.queries.profile_of(parse_user_id(query.user_id), query.field)

    @endpoint("GET", "/_matrix/federation/v1/query/{query_type}", auth=Auth.SERVER, limit=Limit.FEDERATION)
    async def query_info(self, query_type: str) -> JsonObject:
        """Any other question: there is none that this server knows."""
        raise Unrecognized(f"there is no query of the type {query_type[:100]!r}")
