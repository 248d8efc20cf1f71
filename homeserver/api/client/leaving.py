"""Client-server API, `leaving.yaml`: leaving rooms, and forgetting them."""

import msgspec

from homeserver.core.identifiers import RoomID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.memberships import Memberships


class LeaveRequest(msgspec.Struct):
    """Why the user leaves, for all to read."""

    reason: str | None = None


class Leaving(msgspec.Struct, frozen=True):
    """Leaving rooms, and forgetting them."""

    memberships: Memberships

    @endpoint("POST", "/_matrix/client/v3/rooms/{room_id}/leave", auth=Auth.GUEST_OK, limit=Limit.UPDATES)
    async def leave_room(self, requester: Requester, room_id: RoomID, body: LeaveRequest) -> JsonObject:
        """Leave a room, reject an invitation to it, or take back a knock."""
        extra: JsonObject = {} if body.reason is None else {"reason": body.reason}
        await self.memberships.leave(requester, room_id, extra)
        return {}

    @endpoint("POST", "/_matrix/client/v3/rooms/{room_id}/forget", auth=Auth.USER, limit=Limit.UPDATES)
    async def forget_room(self, requester: Requester, room_id: RoomID) -> JsonObject:
        """Forget a room that was left."""
        await self.memberships.forget(requester, room_id)
        return {}
