"""Client-server API, `room_summary.yaml`: what a room is, for somebody who thinks of joining it."""

import msgspec

from homeserver.core.identifiers import RoomAlias, RoomID, ServerName, parse_room_id, parse_server_name
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.room_summary import RoomSummaries


class GetRoomSummaryQuery(msgspec.Struct):
    """Servers that may know the room."""

    via: list[str] = []


class RoomSummary(msgspec.Struct, frozen=True):
    """What a room is."""

    room_summaries: RoomSummaries

    @endpoint(
        "GET",
        "/_matrix/client/v1/room_summary/{room_id_or_alias}",
        auth=Auth.OPTIONAL,
        limit=Limit.SEARCH,
    )
    async def get_room_summary(
        self, requester: Requester | None, room_id_or_alias: str, query: GetRoomSummaryQuery
    ) -> JsonObject:
        """What a room is."""
        via = [ServerName(parse_server_name(server)) for server in query.via]
        is_alias = room_id_or_alias.startswith("#")
        room: RoomID | RoomAlias = (
            RoomAlias(room_id_or_alias) if is_alias else parse_room_id(room_id_or_alias)
        )
        return await self.room_summaries.of(requester, room, via)
