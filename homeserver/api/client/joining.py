"""Client-server API, `joining.yaml`: joining rooms."""

import attrs
import msgspec

from homeserver.core.errors import ThreepidDenied
from homeserver.core.identifiers import RoomID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.memberships import Memberships


class JoinRequest(msgspec.Struct):
    """Why the user joins, for all to read, and the proof of an invitation by e-mail address or the like."""

    reason: str | None = None
    third_party_signed: JsonObject | None = None


class JoinResponse(msgspec.Struct):
    """The room that was joined."""

    room_id: RoomID


@attrs.frozen
class Joining:
    """Joining rooms."""

    memberships: Memberships

    @endpoint("POST", "/_matrix/client/v3/rooms/{room_id}/join", auth=Auth.GUEST_OK, limit=Limit.JOINS)
    async def join_room_by_id(self, requester: Requester, room_id: RoomID, body: JoinRequest) -> JoinResponse:
        """Join a room by its ID."""
        return JoinResponse(await self.memberships.join(requester, room_id, _extra(body)))

    @endpoint("POST", "/_matrix/client/v3/join/{room}", auth=Auth.USER, limit=Limit.JOINS)
    async def join_room(self, requester: Requester, room: str, body: JoinRequest) -> JoinResponse:
        """Join a room by its ID or one of its aliases."""
        return JoinResponse(await self.memberships.join(requester, room, _extra(body)))


def _extra(body: JoinRequest) -> JsonObject:
    """What the membership event is to have besides the membership."""
    if body.third_party_signed is not None:
        raise ThreepidDenied("This server takes no invitations by e-mail address or telephone number yet")
    return {} if body.reason is None else {"reason": body.reason}
