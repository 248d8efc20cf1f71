"""Client-server API, `relations.yaml`: the events that relate to an event."""

from typing import Annotated, Literal

import msgspec

from homeserver.core.identifiers import EventID, RoomID
from homeserver.core.requester import Requester
from homeserver.core.tokens import parse_stream_token
from homeserver.http.endpoints import Auth, endpoint
from homeserver.http.response import RawJson
from homeserver.services.relations import DEFAULT_LIMIT, MAX_LIMIT, RelatedRequest
from homeserver.services.relations import Relations as RelationsService
from homeserver.services.timelines import Direction

PATH = "/_matrix/client/v1/rooms/{room_id}/relations/{event_id}"


class RelationsQuery(msgspec.Struct):
    """Where to read from, in which direction, how far and how much."""

    dir: Literal["b", "f"] = "b"
    start: str | None = msgspec.field(name="from", default=None)
    stop: str | None = msgspec.field(name="to", default=None)
    limit: Annotated[int, msgspec.Meta(ge=1)] | None = None
    recurse: bool | None = None


class Relations(msgspec.Struct, frozen=True):
    """The endpoint in its three forms."""

    relations: RelationsService

    @endpoint("GET", PATH, auth=Auth.USER)
    async def get_relating_events(
        self, requester: Requester, room_id: RoomID, event_id: EventID, query: RelationsQuery
    ) -> RawJson:
        """All events that relate to the event."""
        return await self._of(requester, room_id, event_id, query)

    @endpoint("GET", PATH + "/{rel_type}", auth=Auth.USER)
    async def get_relating_events_with_rel_type(
        self, requester: Requester, room_id: RoomID, event_id: EventID, rel_type: str, query: RelationsQuery
    ) -> RawJson:
        """Those that relate to it in this way."""
        return await self._of(requester, room_id, event_id, query, rel_type=rel_type)

    @endpoint("GET", PATH + "/{rel_type}/{event_type}", auth=Auth.USER)
    async def get_relating_events_with_rel_type_and_event_type(
        self,
        requester: Requester,
        room_id: RoomID,
        event_id: EventID,
        rel_type: str,
        event_type: str,
        query: RelationsQuery,
    ) -> RawJson:
        """Those of them that have this type."""
        return await self._of(requester, room_id, event_id, query, rel_type=rel_type, event_type=event_type)

    async def _of(
        self,
        requester: Requester,
        room_id: RoomID,
        event_id: EventID,
        query: RelationsQuery,
        *,
        rel_type: str | None = None,
        event_type: str | None = None,
    ) -> RawJson:
        request = RelatedRequest(
            room_id,
            event_id,
            rel_type,
            event_type,
            Direction(query.dir),
            parse_stream_token(query.start) if query.start else None,
            parse_stream_token(query.stop) if query.stop else None,
            DEFAULT_LIMIT if query.limit is None else min(query.limit, MAX_LIMIT),
            query.recurse,
        )
        return RawJson(await self.relations.of(requester, request))
