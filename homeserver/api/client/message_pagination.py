"""Client-server API, `message_pagination.yaml`: the messages of a room, page by page."""

from typing import Annotated, Literal

import msgspec

from homeserver.core.identifiers import RoomID
from homeserver.core.requester import Requester
from homeserver.core.tokens import parse_stream_token
from homeserver.http.endpoints import Auth, endpoint
from homeserver.http.response import RawJson
from homeserver.services.timelines import Direction, Timelines


class MessagesQuery(msgspec.Struct):
    """Where to read from, in which direction, how far and how much."""

    dir: Literal["b", "f"]
    start: str | None = msgspec.field(name="from", default=None)
    stop: str | None = msgspec.field(name="to", default=None)
    limit: Annotated[int, msgspec.Meta(ge=0)] | None = None
    filter: str | None = None


class MessagePagination(msgspec.Struct, frozen=True):
    """The endpoint of pagination."""

    timelines: Timelines

    @endpoint("GET", "/_matrix/client/v3/rooms/{room_id}/messages", auth=Auth.GUEST_OK)
    async def get_room_events(self, requester: Requester, room_id: RoomID, query: MessagesQuery) -> RawJson:
        """A page of the room's timeline."""
        return RawJson(
            await self.timelines.page(
                requester,
                room_id,
                direction=Direction(query.dir),
                start=parse_stream_token(query.start) if query.start else None,
                stop=parse_stream_token(query.stop) if query.stop else None,
                limit=query.limit,
                filter=query.filter,
            )
        )
