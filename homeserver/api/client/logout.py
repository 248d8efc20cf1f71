"""Client-server API, `logout.yaml`: ending sessions."""

import msgspec

from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, endpoint
from homeserver.services.sessions import Sessions


class Logout(msgspec.Struct, frozen=True):
    """Ending sessions."""

    sessions: Sessions

    @endpoint("POST", "/_matrix/client/v3/logout", auth=Auth.GUEST_OK)
    async def logout(self, requester: Requester) -> JsonObject:
        """Log out, and delete the device."""
        await self.sessions.close(requester)
        return {}

    @endpoint("POST", "/_matrix/client/v3/logout/all", auth=Auth.GUEST_OK)
    async def logout_all(self, requester: Requester) -> JsonObject:
        """Log out everywhere, and delete all devices."""
        await self.sessions.close_all(requester.user_id)
        return {}
