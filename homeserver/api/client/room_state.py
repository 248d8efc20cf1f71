"""Client-server API, `room_state.yaml`: setting the state of rooms; and of `rooms.yaml`, reading it."""

from typing import Literal

import msgspec

from homeserver.api.delay_query import DelayedResponse, DelayQuery, schedule
from homeserver.core.identifiers import EventID, RoomID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.response import RawJson
from homeserver.services import room_state
from homeserver.services.delayed_events import DelayedEvents

STATE = "/_matrix/client/v3/rooms/{room_id}/state"
OF_TYPE = STATE + "/{event_type}"
OF_KEY = OF_TYPE + "/{state_key}"


class StateFormat(msgspec.Struct):
    """Whether the event's content is wanted, or the event."""

    format: Literal["content", "event"] = "content"


class SetRoomStateResponse(msgspec.Struct):
    """The event that sets the state, be it from now on or since before."""

    event_id: EventID


class RoomState(msgspec.Struct, frozen=True):
    """The state of rooms."""

    room_state: room_state.RoomState
    delayed_events: DelayedEvents

    @endpoint("PUT", OF_KEY, auth=Auth.GUEST_OK, limit=Limit.MESSAGES)
    @endpoint("PUT", OF_TYPE, auth=Auth.GUEST_OK, limit=Limit.MESSAGES)
    async def set_room_state_with_key(
        self,
        requester: Requester,
        room_id: RoomID,
        event_type: str,
        body: JsonObject,
        query: DelayQuery,
        state_key: str = "",
    ) -> SetRoomStateResponse | DelayedResponse:
        """Set a state event; or have it set later (MSC4140). It may stick (MSC4354)."""
        if query.is_wanted:
            key = event_type, state_key
            return await schedule(self.delayed_events, requester, room_id, key, body, query)
        return SetRoomStateResponse(
            await self.room_state.set(
                requester,
                room_id,
                event_type,
                state_key,
                body,
                sticky_duration_ms=query.sticky_duration_ms,
            )
        )

    @endpoint("GET", OF_KEY, auth=Auth.GUEST_OK)
    @endpoint("GET", OF_TYPE, auth=Auth.GUEST_OK)
    async def get_room_state_with_key(
        self, requester: Requester, room_id: RoomID, event_type: str, query: StateFormat, state_key: str = ""
    ) -> RawJson:
        """One state event, or its content."""
        as_event = query.format == "event"
        return RawJson(
            await self.room_state.one(requester, room_id, (event_type, state_key), as_event=as_event)
        )

    @endpoint("GET", STATE, auth=Auth.GUEST_OK)
    async def get_room_state(self, requester: Requester, room_id: RoomID) -> RawJson:
        """All state events."""
        return RawJson(await self.room_state.whole(requester, room_id))
