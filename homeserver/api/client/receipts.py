"""Client-server API, `receipts.yaml`: read receipts."""

import msgspec

from homeserver.core.identifiers import EventID, RoomID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services import receipts


class Receipts(msgspec.Struct, frozen=True):
    """The endpoint of receipts."""

    receipts: receipts.Receipts

    @endpoint(
        "POST",
        "/_matrix/client/v3/rooms/{room_id}/receipt/{receipt_type}/{event_id}",
        auth=Auth.USER,
        limit=Limit.UPDATES,
    )
    async def post_receipt(
        self, requester: Requester, room_id: RoomID, receipt_type: str, event_id: EventID, body: JsonObject
    ) -> JsonObject:
        """Tell how far the requester has read."""
        await self.receipts.send(requester, room_id, receipt_type, event_id, body)
        return {}
