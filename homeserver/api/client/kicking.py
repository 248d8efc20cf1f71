"""Client-server API, `kicking.yaml`: removing users from rooms."""

import msgspec

from homeserver.core.identifiers import RoomID, parse_user_id
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.memberships import Memberships


class KickRequest(msgspec.Struct):
    """Whom to remove, and why."""

    user_id: str
    reason: str | None = None


class Kicking(msgspec.Struct, frozen=True):
    """Removing users from rooms."""

    memberships: Memberships

    @endpoint("POST", "/_matrix/client/v3/rooms/{room_id}/kick", auth=Auth.USER, limit=Limit.INVITES)
    async def kick(self, requester: Requester, room_id: RoomID, body: KickRequest) -> JsonObject:
        """Remove a user, or turn down an invitation or knock."""
        extra: JsonObject = {} if body.reason is None else {"reason": body.reason}
        await self.memberships.kick(requester, room_id, parse_user_id(body.user_id), extra)
        return {}
