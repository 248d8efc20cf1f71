"""Dehydrated devices, as clients use them before they are in the specification. Spec: MSC3814."""

from typing import Final

import msgspec

from homeserver.core.identifiers import DeviceID
from homeserver.core.json import JsonObject
from homeserver.core.requester import Requester
from homeserver.core.splice import array, object_of
from homeserver.core.tokens import parse_stream_token, stream_token
from homeserver.http.endpoints import Auth, Limit, endpoint
from homeserver.http.response import RawJson
from homeserver.services.dehydrated_devices import DehydratedDevices as DehydratedDeviceService
from homeserver.services.dehydrated_devices import Messages

DEVICE: Final = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"
EVENTS: Final = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device/{device_id}/events"


class DehydrateBody(msgspec.Struct):
    """A device, and what is needed to make use of it later."""

    device_id: str
    device_data: JsonObject
    device_keys: JsonObject
    initial_device_display_name: str | None = None
    one_time_keys: JsonObject | None = None
    fallback_keys: JsonObject | None = None


class DeviceResponse(msgspec.Struct):
    """Which device was set or deleted."""

    device_id: DeviceID


class FoundResponse(msgspec.Struct):
    """The device, and what is needed to make use of it."""

    device_id: DeviceID
    device_data: msgspec.Raw


class EventsQuery(msgspec.Struct):
    """Where the part before has ended."""

    start: str | None = msgspec.field(name="from", default=None)


class EventsBody(msgspec.Struct):
    """As in `EventsQuery`, of clients that know an earlier form."""

    next_batch: str | None = None


class DehydratedDevices(msgspec.Struct, frozen=True):
    """The endpoints of dehydrated devices."""

    dehydrated_devices: DehydratedDeviceService

    @endpoint("PUT", DEVICE, auth=Auth.USER, limit=Limit.UPDATES)
    async def put_dehydrated_device(self, requester: Requester, body: DehydrateBody) -> DeviceResponse:
        """Set the dehydrated device, in place of the one that there may be."""
        device_id = await self.dehydrated_devices.put(
            requester,
            body.device_id,
            display_name=body.initial_device_display_name,
            device_data=body.device_data,
            device_keys=body.device_keys,
            one_time_keys=body.one_time_keys or {},
            fallback_keys=body.fallback_keys or {},
        )
        return DeviceResponse(device_id)

    @endpoint("GET", DEVICE, auth=Auth.USER, limit=Limit.UPDATES)
    async def get_dehydrated_device(self, requester: Requester) -> FoundResponse:
        """The dehydrated device."""
        found = await self.dehydrated_devices.find(requester)
        return FoundResponse(found.device_id, msgspec.Raw(found.device_data))

    @endpoint("DELETE", DEVICE, auth=Auth.USER, limit=Limit.UPDATES)
    async def delete_dehydrated_device(self, requester: Requester) -> DeviceResponse:
        """Delete the dehydrated device."""
        return DeviceResponse(await self.dehydrated_devices.remove(requester))

    @endpoint("GET", EVENTS, auth=Auth.USER, limit=Limit.UPDATES)
    async def get_dehydrated_device_events(
        self, requester: Requester, device_id: DeviceID, query: EventsQuery
    ) -> RawJson:
        """What has been sent to the device: with `next_batch` if and only if there is more."""
        after = parse_stream_token(query.start) if query.start else 0
        found = await self.dehydrated_devices.messages(requester, device_id, after=after)
        return _told(found, next_batch=found.has_more)

    @endpoint("POST", EVENTS, auth=Auth.USER, limit=Limit.UPDATES)
    async def post_dehydrated_device_events(
        self, requester: Requester, device_id: DeviceID, body: EventsBody
    ) -> RawJson:
        """As clients asked before: they go on until a part has no events, and need a `next_batch` for that."""
        after = parse_stream_token(body.next_batch) if body.next_batch else 0
        found = await self.dehydrated_devices.messages(requester, device_id, after=after)
        return _told(found, next_batch=True)


def _told(found: Messages, *, next_batch: bool) -> RawJson:
    members = {"events": array(found.events)}
    if next_batch:
        members["next_batch"] = b'"%b"' % stream_token(found.position).encode()
    return RawJson(object_of(members))
