"""Client-server API, `banning.yaml`: shutting users out of rooms."""

import msgspec

from homeserver.core.identifiers import RoomID, parse_user_id
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.memberships import Memberships


class BanRequest(msgspec.Struct):
    """Whom to ban, or to let in again, and why."""

    user_id: str
    reason: str | None = None

    def extra(self) -> JsonObject:
        """What the membership event is to have besides the membership."""
        return {} if self.reason is None else {"reason": self.reason}


class Banning(msgspec.Struct, frozen=True):
    """Shutting users out of rooms."""

    memberships: Memberships

    @endpoint("POST", "/_matrix/client/v3/rooms/{room_id}/ban", auth=Auth.USER, limit=Limit.INVITES)
    async def ban(self, requester: Requester, room_id: RoomID, body: BanRequest) -> JsonObject:
        """Ban a user, who is removed if need be."""
        await self.memberships.ban(requester, room_id, parse_user_id(body.user_id), body.extra())
        return {}

    @endpoint("POST", "/_matrix/client/v3/rooms/{room_id}/unban", auth=Auth.USER, limit=Limit.INVITES)
    async def unban(self, requester: Requester, room_id: RoomID, body: BanRequest) -> JsonObject:
        """Lift a ban."""
        await self.memberships.unban(requester, room_id, parse_user_id(body.user_id), body.extra())
        return {}
