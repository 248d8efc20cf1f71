"""Server-server API, `invites-v2.yaml`: invitations."""

import msgspec

from homeserver.core.identifiers import EventID, RoomID, ServerName
from homeserver.core.json import JsonObject, JsonValue
from homeserver.core.splice import object_of
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.response import RawJson
from homeserver.services.federation_invites import FederationInvites, Invitation


class InviteRequest(msgspec.Struct):
    """The invite event, and what it is about: the room's version, and some of its state."""

    room_version: str
    event: JsonObject
    invite_room_state: list[JsonValue] | None = None


class InvitesV2(msgspec.Struct, frozen=True):
    """Invitations."""

    invites: FederationInvites

    @endpoint(
        "PUT", "/_matrix/federation/v2/invite/{room_id}/{event_id}", auth=Auth.SERVER, limit=Limit.FEDERATION
    )
    async def send_invite_v2(
        self, origin: ServerName, room_id: RoomID, event_id: EventID, body: InviteRequest
    ) -> RawJson:
        """Invite a user of this server."""
        invitation = Invitation(
            origin, room_id, event_id, body.room_version, body.event, body.invite_room_state
        )
        return RawJson(object_of({"event": await self.invites.receive(invitation)}))
