"""Client-server API, `whoami.yaml`: whose access token this is."""

import msgspec

from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, endpoint


class WhoamiResponse(msgspec.Struct, omit_defaults=True):
    """The owner of an access token."""

    user_id: UserID
    device_id: DeviceID | None = None
    is_guest: bool = False


class Whoami(msgspec.Struct, frozen=True):
    """Whose access token this is."""

    @endpoint("GET", "/_matrix/client/v3/account/whoami", auth=Auth.GUEST_OK)
    async def get_token_owner(self, requester: Requester) -> WhoamiResponse:
        """The owner of the access token."""
        return WhoamiResponse(requester.user_id, requester.device_id, requester.is_guest)
