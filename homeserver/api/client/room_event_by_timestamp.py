"""Client-server API, `room_event_by_timestamp.yaml`: what was said at some time."""

from typing import Annotated, Literal

import msgspec

from homeserver.core.identifiers import EventID, RoomID
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.room_events import RoomEvents

_MOST = 2**63 - 1


class TimestampQuery(msgspec.Struct):
    """A time in milliseconds, and the direction to look in from there."""

    ts: Annotated[int, msgspec.Meta(ge=-_MOST, le=_MOST)]
    dir: Literal["f", "b"]


class EventByTimestampResponse(msgspec.Struct):
    """The nearest event."""

    event_id: EventID
    origin_server_ts: int


class RoomEventByTimestamp(msgspec.Struct, frozen=True):
    """The endpoint that jumps to a date."""

    events: RoomEvents

    @endpoint(
        "GET",
        "/_matrix/client/v1/rooms/{room_id}/timestamp_to_event",
        auth=Auth.USER,
        limit=Limit.SEARCH,
    )
    async def get_event_by_timestamp(
        self, requester: Requester, room_id: RoomID, query: TimestampQuery
    ) -> EventByTimestampResponse:
        """The event nearest to the time."""
        event_id, ts = await self.events.nearest(requester, room_id, query.ts, forwards=query.dir == "f")
        return EventByTimestampResponse(event_id, ts)
