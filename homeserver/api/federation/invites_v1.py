"""Server-server API, `invites-v1.yaml`: invitations to rooms of the first two versions."""

import msgspec

from homeserver.core.identifiers import EventID, RoomID, ServerName
from homeserver.core.json import JsonObject
from homeserver.core.splice import array, object_of
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.response import RawJson
from homeserver.services.federation_invites import FederationInvites, Invitation, old_version


class InvitesV1(msgspec.Struct, frozen=True):
    """Invitations to rooms of the first two versions."""

    invites: FederationInvites

    @endpoint(
        "PUT", "/_matrix/federation/v1/invite/{room_id}/{event_id}", auth=Auth.SERVER, limit=Limit.FEDERATION
    )
    async def send_invite_v1(
        self, origin: ServerName, room_id: RoomID, event_id: EventID, body: JsonObject
    ) -> RawJson:
        """Invite a user of this server."""
        unsigned = body.get("unsigned")
        room_state = unsigned.get("invite_room_state") if isinstance(unsigned, dict) else None
        invitation = Invitation(origin, room_id, event_id, old_version(room_state), body, room_state)
        signed = await self.invites.receive(invitation)
        return RawJson(array([b"200", object_of({"event": signed})]))
