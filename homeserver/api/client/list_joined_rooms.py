"""Client-server API, `list_joined_rooms.yaml`: which rooms the user is in."""

import msgspec

from homeserver.core.identifiers import RoomID
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, endpoint
from homeserver.services.memberships import Memberships


class JoinedRoomsResponse(msgspec.Struct):
    """The rooms that the user is joined to."""

    joined_rooms: list[RoomID]


class ListJoinedRooms(msgspec.Struct, frozen=True):
    """Which rooms the user is in."""

    memberships: Memberships

    @endpoint("GET", "/_matrix/client/v3/joined_rooms", auth=Auth.USER)
    async def get_joined_rooms(self, requester: Requester) -> JoinedRoomsResponse:
        """The rooms that the user is joined to."""
        return JoinedRoomsResponse(await self.memberships.joined_rooms(requester))
