"""Client-server API, `event_context.yaml`: an event in its surroundings."""

from typing import Annotated

import msgspec

from homeserver.core.identifiers import EventID, RoomID
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, endpoint
from homeserver.http.response import RawJson
from homeserver.services.event_context import EventContexts


class ContextQuery(msgspec.Struct):
    """How many events before and after, and which."""

    limit: Annotated[int, msgspec.Meta(ge=0)] | None = None
    filter: str | None = None


class EventContext(msgspec.Struct, frozen=True):
    """The endpoint of event context."""

    contexts: EventContexts

    @endpoint("GET", "/_matrix/client/v3/rooms/{room_id}/context/{event_id}", auth=Auth.GUEST_OK)
    async def get_event_context(
        self, requester: Requester, room_id: RoomID, event_id: EventID, query: ContextQuery
    ) -> RawJson:
        """The event, what stood before and after it, and the state at the last of these."""
        return RawJson(
            await self.contexts.around(requester, room_id, event_id, limit=query.limit, filter=query.filter)
        )
