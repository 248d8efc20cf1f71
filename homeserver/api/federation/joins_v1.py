"""Server-server API, `joins-v1.yaml`: templates for joins."""

import msgspec

from homeserver.core.identifiers import RoomID, ServerName, UserID
from homeserver.core.json import JsonObject
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.federation_joins import FederationJoins


class MakeJoinQuery(msgspec.Struct):
    """The room versions that the joining server knows."""

    ver: list[str] = msgspec.field(default_factory=lambda: ["1"])


class JoinsV1(msgspec.Struct, frozen=True):
    """Templates for joins."""

    joins: FederationJoins

    @endpoint(
        "GET",
        "/_matrix/federation/v1/make_join/{room_id}/{user_id}",
        auth=Auth.SERVER,
        limit=Limit.FEDERATION,
    )
    async def make_join(
        self, origin: ServerName, room_id: RoomID, user_id: UserID, query: MakeJoinQuery
    ) -> JsonObject:
        """What the other server needs to make a join event."""
        return await self.joins.make(origin, room_id, user_id, query.ver)
