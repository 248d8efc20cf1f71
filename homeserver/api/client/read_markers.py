"""Client-server API, `read_markers.yaml`: several markers of how far a user has read, at once."""

import msgspec

from homeserver.core.identifiers import RoomID, parse_event_id
from homeserver.core.json import JsonObject
from homeserver.core.receipts import FULLY_READ, READ, READ_PRIVATE
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.receipts import Marker, Receipts


class ReadMarkers(msgspec.Struct):
    """The events that the markers are to be moved to."""

    fully_read: str | None = msgspec.field(name=FULLY_READ, default=None)
    read: str | None = msgspec.field(name=READ, default=None)
    read_private: str | None = msgspec.field(name=READ_PRIVATE, default=None)

    def markers(self) -> list[Marker]:
        """Those that are given. Errors: InvalidParam if one is no event ID."""
        given = {FULLY_READ: self.fully_read, READ: self.read, READ_PRIVATE: self.read_private}
        return [
            Marker(kind, parse_event_id(event_id)) for kind, event_id in given.items() if event_id is not None
        ]


class ReadMarker(msgspec.Struct, frozen=True):
    """The endpoint of read markers."""

    receipts: Receipts

    @endpoint("POST", "/_matrix/client/v3/rooms/{room_id}/read_markers", auth=Auth.USER, limit=Limit.UPDATES)
    async def set_read_marker(self, requester: Requester, room_id: RoomID, body: ReadMarkers) -> JsonObject:
        """Move the markers that the body names."""
        await self.receipts.mark(requester, room_id, body.markers())
        return {}
