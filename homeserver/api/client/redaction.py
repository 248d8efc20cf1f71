"""Client-server API, `redaction.yaml`: redacting events."""

import msgspec

from homeserver.core.identifiers import EventID, RoomID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services.messages import Messages


class RedactEventResponse(msgspec.Struct):
    """The redaction event."""

    event_id: EventID


class Redaction(msgspec.Struct, frozen=True):
    """Redacting events."""

    messages: Messages

    @endpoint(
        "PUT",
        "/_matrix/client/v3/rooms/{room_id}/redact/{event_id}/{txn_id}",
        auth=Auth.GUEST_OK,
        limit=Limit.MESSAGES,
    )
    async def redact_event(
        self, requester: Requester, room_id: RoomID, event_id: EventID, txn_id: str, body: JsonObject
    ) -> RedactEventResponse:
        """Redact an event, once per transaction id."""
        return RedactEventResponse(await self.messages.redact(requester, room_id, event_id, txn_id, body))
