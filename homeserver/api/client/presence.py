"""Client-server API, `presence.yaml`: who is there."""

import msgspec

from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject
from homeserver.core.presence import PresenceState
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services import presence


class PresenceStatus(msgspec.Struct):
    """What the requester wants to be seen as."""

    presence: PresenceState
    status_msg: str | None = None


class Presence(msgspec.Struct, frozen=True):
    """The endpoints of presence."""

    presence: presence.Presence

    @endpoint("PUT", "/_matrix/client/v3/presence/{user_id}/status", auth=Auth.USER, limit=Limit.UPDATES)
    async def set_presence(self, requester: Requester, user_id: UserID, body: PresenceStatus) -> JsonObject:
        """Set the requester's own presence."""
        await self.presence.set_status(requester, user_id, body.presence, body.status_msg)
        return {}

    @endpoint("GET", "/_matrix/client/v3/presence/{user_id}/status", auth=Auth.USER)
    async def get_presence(self, requester: Requester, user_id: UserID) -> JsonObject:
        """The presence of a user whom the requester can see."""
        return await self.presence.status_of(requester, user_id)
