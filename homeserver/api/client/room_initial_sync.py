"""Client-server API, `room_initial_sync.yaml`: a look into a room."""

import msgspec

from homeserver.core.identifiers import RoomID
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, endpoint
from homeserver.http.response import RawJson
from homeserver.services.room_snapshots import RoomSnapshots


class RoomInitialSync(msgspec.Struct, frozen=True):
    """The endpoint with which looking into a room begins; `PeekingEvents` goes on from there."""

    snapshots: RoomSnapshots

    @endpoint("GET", "/_matrix/client/v3/rooms/{room_id}/initialSync", auth=Auth.GUEST_OK)
    async def room_initial_sync(self, requester: Requester, room_id: RoomID) -> RawJson:
        """The room's state and newest messages."""
        return RawJson(await self.snapshots.room(requester, room_id))
