"""Server-server API, `user_devices.yaml`: the devices of users here."""

import msgspec

from homeserver.core.identifiers import UserID
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.response import RawJson
from homeserver.services.federation_keys import FederationKeys


class UserDevices(msgspec.Struct, frozen=True):
    """Lists of devices."""

    keys: FederationKeys

    @endpoint(
        "GET", "/_matrix/federation/v1/user/devices/{user_id}", auth=Auth.SERVER, limit=Limit.FEDERATION
    )
    async def get_user_devices(self, user_id: UserID) -> RawJson:
        """All devices of a user of this server, and the user's cross-signing keys."""
        return RawJson(await self.keys.devices_of(user_id))
