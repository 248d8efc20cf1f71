"""Client-server API, `room_send.yaml`: sending message events."""

import msgspec

from homeserver.api.delay_query import DelayedResponse, DelayQuery, schedule
from homeserver.core.identifiers import EventID, RoomID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.delayed_events import DelayedEvents
from homeserver.services.messages import Messages


class SendMessageResponse(msgspec.Struct):
    """The event that was sent, now or by an earlier request with the same transaction id."""

    event_id: EventID


class RoomSend(msgspec.Struct, frozen=True):
    """Sending message events."""

    messages: Messages
    delayed_events: DelayedEvents

    @endpoint(
        "PUT",
        "/_matrix/client/v3/rooms/{room_id}/send/{event_type}/{txn_id}",
        auth=Auth.GUEST_OK,
        limit=Limit.MESSAGES,
    )
    async def send_message(
        self,
        requester: Requester,
        room_id: RoomID,
        event_type: str,
        txn_id: str,
        body: JsonObject,
        query: DelayQuery,
    ) -> SendMessageResponse | DelayedResponse:
        """Send a message event, once per transaction id; or have it sent later (MSC4140). It may stick (MSC4354)."""
        if query.is_wanted:
            key = event_type, None
            return await schedule(self.delayed_events, requester, room_id, key, body, query, txn_id)
        event_id = await self.messages.send(
            requester, room_id, event_type, txn_id, body, sticky_duration_ms=query.sticky_duration_ms
        )
        return SendMessageResponse(event_id)
