"""Client-server API, `inviting.yaml`: inviting users.

Also those by e-mail address and the like (`third_party_membership.yaml`), who come to the same path.
"""

import msgspec

from homeserver.core.errors import BadJson
from homeserver.core.identifiers import RoomID, parse_user_id
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.memberships import Memberships
from homeserver.services.third_party_invitations import ThirdPartyInvitations


class InviteRequest(msgspec.Struct):
    """Whom to invite: a user ID, or the address of somebody who may not have one."""

    user_id: str | None = None
    reason: str | None = None
    medium: str | None = None
    address: str | None = None
    id_server: str | None = None
    id_access_token: str | None = None


class Inviting(msgspec.Struct, frozen=True):
    """Inviting users."""

    memberships: Memberships
    third_party: ThirdPartyInvitations

    @endpoint("POST", "/_matrix/client/v3/rooms/{room_id}/invite", auth=Auth.USER, limit=Limit.INVITES)
    async def invite_user(self, requester: Requester, room_id: RoomID, body: InviteRequest) -> JsonObject:
        """Invite a user to a room."""
        extra: JsonObject = {} if body.reason is None else {"reason": body.reason}
        if body.user_id is not None:
            await self.memberships.invite(requester, room_id, parse_user_id(body.user_id), extra)
            return {}
        if body.medium is None and body.address is None and body.id_server is None:
            raise BadJson("Object missing required field `user_id`")
        invitee = self.third_party.invitee(body.id_server, body.id_access_token, body.medium, body.address)
        await self.third_party.invite(requester, room_id, invitee, extra)
        return {}
