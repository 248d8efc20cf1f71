"""Client-server API, `peeking_events.yaml`: watching a room from outside.

`getEvents` of `old_sync.yaml` has the same URL: it is this endpoint without `room_id`.
"""

import msgspec

from homeserver.core.identifiers import parse_room_id
from homeserver.core.requester import Requester
from homeserver.core.tokens import parse_stream_token
from homeserver.http.endpoints import Auth, endpoint
from homeserver.http.response import RawJson
from homeserver.services.event_stream import EventStream

DEFAULT_TIMEOUT_MS = 30_000


class EventsQuery(msgspec.Struct):
    """From where on, how long to wait, and for which room (all of the user's, if absent)."""

    start: str | None = msgspec.field(name="from", default=None)
    timeout: int = DEFAULT_TIMEOUT_MS
    room_id: str | None = None


class PeekingEvents(msgspec.Struct, frozen=True):
    """The endpoint that is waited at."""

    event_stream: EventStream

    @endpoint("GET", "/_matrix/client/v3/events", auth=Auth.GUEST_OK)
    async def peek_events(self, requester: Requester, query: EventsQuery) -> RawJson:
        """The new events of a room that everybody may read, or of all rooms of the user."""
        return RawJson(
            await self.event_stream.listen(
                requester,
                room_id=None if query.room_id is None else parse_room_id(query.room_id),
                since=parse_stream_token(query.start) if query.start else None,
                timeout_ms=max(0, query.timeout),
            )
        )
