"""Client-server API, MSC4140: events that are sent later.

The proposal is accepted, so its endpoints are served under their final paths, and under those from before, which most
clients know. `room_send.py` and `room_state.py` take an older form of scheduling, by a query parameter.
"""

from typing import Final

import msgspec

from homeserver.api.delay_query import DelayedResponse, StickyQuery
from homeserver.core.identifiers import RoomID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services import delayed_events
from homeserver.services.delayed_events import Action, Wish

UNSTABLE: Final = "/_matrix/client/unstable/org.matrix.msc4140"
SCHEDULE: Final = "/rooms/{room_id}/delayed_event/{event_type}/{txn_id}"
LIST: Final = UNSTABLE + "/delayed_events"
ONE: Final = LIST + "/{delay_id}"
STABLE_ONE: Final = "/_matrix/client/v1/delayed_events/{delay_id}"


class ScheduleRequest(msgspec.Struct):
    """An event, and by how much it is to be delayed; with a state key it is a state event."""

    delay_ms: int
    content: JsonObject
    state_key: str | None = None


class ActionRequest(msgspec.Struct):
    """What is to be done with a delayed event."""

    action: Action


class DelayedEvents(msgspec.Struct, frozen=True):
    """The endpoints of delayed events; guests have them, too."""

    delayed_events: delayed_events.DelayedEvents

    @endpoint("PUT", UNSTABLE + SCHEDULE, auth=Auth.GUEST_OK, limit=Limit.MESSAGES)
    @endpoint("PUT", "/_matrix/client/v3" + SCHEDULE, auth=Auth.GUEST_OK, limit=Limit.MESSAGES)
    async def schedule_delayed_event(
        self,
        requester: Requester,
        room_id: RoomID,
        event_type: str,
        txn_id: str,
        body: ScheduleRequest,
        query: StickyQuery,
    ) -> DelayedResponse:
        """Have an event sent later, once per transaction id. It may stick then (MSC4354)."""
        wish = Wish(
            room_id, event_type, body.state_key, body.content, body.delay_ms, query.sticky_duration_ms
        )
        return DelayedResponse(await self.delayed_events.schedule(requester, wish, txn_id))

    @endpoint("POST", ONE + "/{action}", auth=Auth.GUEST_OK, limit=Limit.UPDATES)
    @endpoint("POST", STABLE_ONE + "/{action}", auth=Auth.GUEST_OK, limit=Limit.UPDATES)
    async def manage_delayed_event(self, requester: Requester, delay_id: str, action: Action) -> JsonObject:
        """Send the event now, cancel it, or let its delay begin anew."""
        await self.delayed_events.act(requester, delay_id, action)
        return {}

    @endpoint("POST", ONE, auth=Auth.GUEST_OK, limit=Limit.UPDATES)
    async def update_delayed_event(
        self, requester: Requester, delay_id: str, body: ActionRequest
    ) -> JsonObject:
        """As `manage_delayed_event`, in the form of an older version of the proposal."""
        await self.delayed_events.act(requester, delay_id, body.action)
        return {}

    @endpoint("GET", ONE, auth=Auth.GUEST_OK, limit=Limit.UPDATES)
    @endpoint("GET", STABLE_ONE, auth=Auth.GUEST_OK, limit=Limit.UPDATES)
    async def get_delayed_event(self, requester: Requester, delay_id: str) -> JsonObject:
        """A delayed event, and what became of it."""
        return await self.delayed_events.one(requester, delay_id)

    @endpoint("GET", LIST, auth=Auth.GUEST_OK, limit=Limit.UPDATES)
    async def get_delayed_events(self, requester: Requester) -> JsonObject:
        """What the requester has scheduled; the accepted proposal has left this to a later one."""
        return {"delayed_events": await self.delayed_events.scheduled(requester)}
