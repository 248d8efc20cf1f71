"""Client-server API, `profile.yaml`: display names, avatars and other profile fields."""

import msgspec

from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.profiles import Profiles


class Profile(msgspec.Struct, frozen=True):
    """The endpoints of profiles."""

    profiles: Profiles

    @endpoint("GET", "/_matrix/client/v3/profile/{user_id}", auth=Auth.NONE)
    async def get_user_profile(self, user_id: UserID) -> JsonObject:
        """All fields of a profile."""
        return await self.profiles.profile_of(user_id)

    @endpoint("GET", "/_matrix/client/v3/profile/{user_id}/{key_name}", auth=Auth.NONE)
    async def get_profile_field(self, user_id: UserID, key_name: str) -> JsonObject:
        """One field."""
        return {key_name: await self.profiles.field_of(user_id, key_name)}

    @endpoint(
        "PUT", "/_matrix/client/v3/profile/{user_id}/{key_name}", auth=Auth.GUEST_OK, limit=Limit.UPDATES
    )
    async def set_profile_field(
        self, requester: Requester, user_id: UserID, key_name: str, body: JsonObject
    ) -> JsonObject:
        """Set one of the requester's own fields."""
        await self.profiles.set_field(requester, user_id, key_name, body)
        return {}

    @endpoint(
        "DELETE", "/_matrix/client/v3/profile/{user_id}/{key_name}", auth=Auth.GUEST_OK, limit=Limit.UPDATES
    )
    async def delete_profile_field(self, requester: Requester, user_id: UserID, key_name: str) -> JsonObject:
        """Remove one of the requester's own fields."""
        await self.profiles.delete_field(requester, user_id, key_name)
        return {}
