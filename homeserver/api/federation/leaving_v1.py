"""Server-server API, `leaving-v1.yaml`: templates for leaving."""

import msgspec

from homeserver.core.identifiers import RoomID, ServerName, UserID
from homeserver.core.json import JsonObject
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.federation_leaves import FederationLeaves


class LeavingV1(msgspec.Struct, frozen=True):
    """Templates for leaving."""

    leaves: FederationLeaves

    @endpoint(
        "GET",
        "/_matrix/federation/v1/make_leave/{room_id}/{user_id}",
        auth=Auth.SERVER,
        limit=Limit.FEDERATION,
    )
    async def make_leave(self, origin: ServerName, room_id: RoomID, user_id: UserID) -> JsonObject:
        """What the other server needs to make a leave event."""
        return await self.leaves.make(origin, room_id, user_id)
