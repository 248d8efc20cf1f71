"""Users of other servers leave, or reject invitations to, rooms that this server is in.

Spec: server-server API, "Leaving Rooms (Rejecting Invites)".
"""

import msgspec

from homeserver.core.identifiers import RoomID, ServerName, UserID
from homeserver.core.json import JsonObject
from homeserver.services.federation_handshakes import Asked, FederationHandshakes, Submitted


class FederationLeaves(msgspec.Struct, frozen=True):
    """Lets users of other servers go."""

    handshakes: FederationHandshakes

    async def make(self, origin: ServerName, room_id: RoomID, user_id: UserID) -> JsonObject:
        """A template for the leave event. Errors: see `FederationHandshakes.template`."""
        return await self.handshakes.template(Asked(origin, room_id, user_id, "leave", None))

    async def send(self, submitted: Submitted) -> None:
        """Take the leave in. Errors: NotFound, InvalidParam, Forbidden."""
        await self.handshakes.take_in(submitted, await self.handshakes.check(submitted))
