"""Client-server API, `directory.yaml`: room aliases."""

import msgspec

from homeserver.core.identifiers import RoomAlias, RoomID, ServerName, parse_room_id
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.aliases import Aliases

ALIAS = "/_matrix/client/v3/directory/room/{room_alias}"


class SetRoomAliasRequest(msgspec.Struct):
    """Where the alias is to lead to."""

    room_id: str


class GetRoomIdByAliasResponse(msgspec.Struct):
    """Where the alias leads to, and servers that know the room."""

    room_id: RoomID
    servers: tuple[ServerName, ...]


class LocalAliasesResponse(msgspec.Struct):
    """The aliases that this server keeps for a room."""

    aliases: list[RoomAlias]


class Directory(msgspec.Struct, frozen=True):
    """Room aliases."""

    aliases: Aliases

    @endpoint("PUT", ALIAS, auth=Auth.USER, limit=Limit.ROOMS)
    async def set_room_alias(
        self, requester: Requester, room_alias: RoomAlias, body: SetRoomAliasRequest
    ) -> JsonObject:
        """Make an alias."""
        await self.aliases.create(requester, room_alias, parse_room_id(body.room_id))
        return {}

    @endpoint("GET", ALIAS, auth=Auth.NONE)
    async def get_room_id_by_alias(self, room_alias: RoomAlias) -> GetRoomIdByAliasResponse:
        """Find the room of an alias."""
        found = await self.aliases.resolve(room_alias)
        return GetRoomIdByAliasResponse(found.room_id, found.servers)

    @endpoint("DELETE", ALIAS, auth=Auth.USER, limit=Limit.ROOMS)
    async def delete_room_alias(self, requester: Requester, room_alias: RoomAlias) -> JsonObject:
        """Remove an alias."""
        await self.aliases.delete(requester, room_alias)
        return {}

    @endpoint("GET", "/_matrix/client/v3/rooms/{room_id}/aliases", auth=Auth.USER)
    async def get_local_aliases(self, requester: Requester, room_id: RoomID) -> LocalAliasesResponse:
        """This server's aliases of a room."""
        return LocalAliasesResponse(await self.aliases.of_room(requester, room_id))
