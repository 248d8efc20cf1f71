"""Dehydrated devices: what is sent to users while they have no device is kept for one that a client takes up later.

Such a device is one of the user's devices, with keys and an inbox as any other, but nobody is logged in on it.
Spec: MSC3814.
"""

from typing import Final

import msgspec

from homeserver.core.errors import BadJson, InvalidParam, NotFound, TooLarge
from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.json import JsonObject, encode
from homeserver.core.key_uploads import KeyUpload, read_upload
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.transactions import ReadTransaction, WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.services import key_uploads
from homeserver.services.sessions import check_device_id, check_display_name, device_added, end_sessions
from homeserver.storage import dehydrated_devices, devices, to_device
from homeserver.storage.dehydrated_devices import DehydratedDevice

MOST_DATA_BYTES: Final = 64 * 1024
"""Of `device_data`."""

MOST_MESSAGES: Final = 100
MOST_BYTES: Final = 1024 * 1024
"""In one part of what has been sent to the device."""

_NONE: Final = "No dehydrated device available"


class Messages(msgspec.Struct, frozen=True):
    """A part of what has been sent to the device, as JSON; it ends at a position of the stream."""

    events: list[bytes]
    position: int
    has_more: bool


class DehydratedDevices(msgspec.Struct, frozen=True, eq=False):
    """Keeps one such device a user, at most."""

    database: Database
    clock: Clock

    async def put(
        self,
        requester: Requester,
        device_id: str,
        *,
        display_name: str | None,
        device_data: JsonObject,
        device_keys: JsonObject,
        one_time_keys: JsonObject,
        fallback_keys: JsonObject,
    ) -> DeviceID:
        """Set the device; the one before is deleted with all that it has, unless it is the same.

        Errors: InvalidParam, also if one of the user's other devices has the ID; BadJson; TooLarge; InvalidSignature.
        """
        checked = check_device_id(device_id)
        if not checked:
            raise InvalidParam("device_id must not be empty")
        if display_name is not None:
            check_display_name(display_name)
        if not isinstance(device_data.get("algorithm"), str):
            raise BadJson("device_data lacks `algorithm`, a text")
        data = encode(device_data)
        if len(data) > MOST_DATA_BYTES:
            raise TooLarge(f"device_data have at most {MOST_DATA_BYTES} bytes")
        upload = read_upload(
            requester.user_id,
            checked,
            device_keys=device_keys,
            one_time_keys=one_time_keys,
            fallback_keys=fallback_keys,
        )
        device = DehydratedDevice(checked, data)
        await self.database.write(
            put, requester.user_id, device, upload, display_name=display_name, now_ts=self.clock.now_ts()
        )
        return checked

    async def find(self, requester: Requester) -> DehydratedDevice:
        """The device. Errors: NotFound."""
        found = await self.database.read(dehydrated_devices.of, requester.user_id)
        if found is None:
            raise NotFound(_NONE)
        return found

    async def remove(self, requester: Requester) -> DeviceID:
        """Delete the device, and all that it has; its ID. Errors: NotFound."""
        return await self.database.write(_remove, requester.user_id)

    async def messages(self, requester: Requester, device_id: DeviceID, *, after: int) -> Messages:
        """What has been sent to the device after a position.

        All of it stays, should the client break off: it deletes the device when it is done. Errors: NotFound.
        """
        return await self.database.read(_messages, requester.user_id, device_id, after=after)


def put(
    tx: WriteTransaction,
    user_id: UserID,
    device: DehydratedDevice,
    upload: KeyUpload,
    *,
    display_name: str | None,
    now_ts: int,
) -> None:
    """As `DehydratedDevices.put`."""
    kept = dehydrated_devices.of(tx, user_id)
    if kept is not None and kept.device_id != device.device_id:
        end_sessions(tx, user_id, [kept.device_id])
    if devices.add(tx, user_id, device.device_id, display_name=display_name, now_ts=now_ts):
        device_added(tx, user_id, device.device_id)
    elif kept is None or kept.device_id != device.device_id:
        raise InvalidParam("one of the user's other devices has that ID")
    key_uploads.store(tx, user_id, device.device_id, upload)
    dehydrated_devices.put(tx, user_id, device)


def _remove(tx: WriteTransaction, user_id: UserID) -> DeviceID:
    kept = dehydrated_devices.of(tx, user_id)
    if kept is None:
        raise NotFound(_NONE)
    end_sessions(tx, user_id, [kept.device_id])
    return kept.device_id


def _messages(tx: ReadTransaction, user_id: UserID, device_id: DeviceID, *, after: int) -> Messages:
    kept = dehydrated_devices.of(tx, user_id)
    if kept is None or kept.device_id != device_id:
        raise NotFound("You may only fetch messages for your dehydrated device")
    upto = tx.stream_row().position
    found, has_more = to_device.waiting(
        tx, user_id, device_id, after=after, upto=upto, most=MOST_MESSAGES, most_bytes=MOST_BYTES
    )
    return Messages(
        [each.message for each in found], found[-1].position if found else max(after, 0), has_more
    )
