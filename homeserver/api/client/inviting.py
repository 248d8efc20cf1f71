"""Client-server API, `inviting.yaml`: inviting users.

Those by e-mail address and the like (`third_party_membership.yaml`) come to the same path, and are refused.
"""

import attrs
import msgspec

from homeserver.core.errors import BadJson, ThreepidDenied
from homeserver.core.identifiers import RoomID, parse_user_id
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.memberships import Memberships


class InviteRequest(msgspec.Struct):
    """Whom to invite: a user ID, or the address of somebody who may not have one."""

    user_id: str | None = None
    reason: str | None = None
    medium: str | None = None
    address: str | None = None


@attrs.frozen
class Inviting:
    """Inviting users."""

    memberships: Memberships

    @endpoint("POST", "/_matrix/client/v3/rooms/{room_id}/invite", auth=Auth.USER, limit=Limit.INVITES)
    async def invite_user(self, requester: Requester, room_id: RoomID, body: InviteRequest) -> JsonObject:
        """Invite a user to a room."""
        if body.user_id is None:
            if body.medium is not None or body.address is not None:
                raise ThreepidDenied("This server cannot invite by e-mail address or telephone number yet")
            raise BadJson("Object missing required field `user_id`")
        extra: JsonObject = {} if body.reason is None else {"reason": body.reason}
        await self.memberships.invite(requester, room_id, parse_user_id(body.user_id), extra)
        return {}
