"""Client-server API, `tags.yaml`: tags of rooms."""

import msgspec

from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services import tags

TAG = "/_matrix/client/v3/user/{user_id}/rooms/{room_id}/tags/{tag}"


class Tags(msgspec.Struct, frozen=True):
    """The endpoints of tags."""

    tags: tags.Tags

    @endpoint("GET", "/_matrix/client/v3/user/{user_id}/rooms/{room_id}/tags", auth=Auth.USER)
    async def get_room_tags(self, requester: Requester, user_id: UserID, room_id: RoomID) -> JsonObject:
        """The requester's tags of a room."""
        return {"tags": await self.tags.of_room(requester, user_id, room_id)}

    @endpoint("PUT", TAG, auth=Auth.USER, limit=Limit.UPDATES)
    async def set_room_tag(
        self, requester: Requester, user_id: UserID, room_id: RoomID, tag: str, body: JsonObject
    ) -> JsonObject:
        """Tag a room."""
        await self.tags.put(requester, user_id, room_id, tag, body)
        return {}

    @endpoint("DELETE", TAG, auth=Auth.USER, limit=Limit.UPDATES)
    async def delete_room_tag(
        self, requester: Requester, user_id: UserID, room_id: RoomID, tag: str
    ) -> JsonObject:
        """Take a tag from a room."""
        await self.tags.remove(requester, user_id, room_id, tag)
        return {}
