"""Client-server API, `to_device.yaml`: sending messages to devices."""

import msgspec

from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.services import to_device


class MessagesForDevices(msgspec.Struct):
    """The contents of messages, by user and device; `*` stands for all devices of a user."""

    messages: dict[str, dict[str, JsonObject]]


class ToDevice(msgspec.Struct, frozen=True):
    """The endpoint by which devices talk to each other."""

    to_device: to_device.ToDevice

    @endpoint(
        "PUT",
        "/_matrix/client/v3/sendToDevice/{event_type}/{txn_id}",
        auth=Auth.GUEST_OK,
        limit=Limit.TO_DEVICE,
    )
    async def send_to_device(
        self, requester: Requester, event_type: str, txn_id: str, body: MessagesForDevices
    ) -> JsonObject:
        """Send each device its message, once per transaction id."""
        await self.to_device.send(requester, event_type, txn_id, body.messages)
        return {}
