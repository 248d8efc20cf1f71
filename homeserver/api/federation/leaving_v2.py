"""Server-server API, `leaving-v2.yaml`: leaving."""

import msgspec

from homeserver.core.identifiers import EventID, RoomID, ServerName
from homeserver.core.json import JsonObject
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.federation_handshakes import Submitted
from homeserver.services.federation_leaves import FederationLeaves


class LeavingV2(msgspec.Struct, frozen=True):
    """Leaving."""

    leaves: FederationLeaves

    @endpoint(
        "PUT",
        "/_matrix/federation/v2/send_leave/{room_id}/{event_id}",
        auth=Auth.SERVER,
        limit=Limit.FEDERATION,
    )
    async def send_leave_v2(
        self, origin: ServerName, room_id: RoomID, event_id: EventID, body: JsonObject
    ) -> JsonObject:
        """Have a user of the other server leave."""
        await self.leaves.send(Submitted(origin, room_id, event_id, "leave", body))
        return {}
