"""A user's devices, as the user sees and names them."""

from collections.abc import Collection

import msgspec

from homeserver.core.errors import NotFound
from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.requester import Requester
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.runtime.clock import Clock
from homeserver.services.sessions import check_device_id, check_display_name, device_added, end_sessions
from homeserver.storage import devices
from homeserver.storage.devices import Device

__all__ = ["Device", "Devices", "update"]


class Devices(msgspec.Struct, frozen=True):
    """Lists, names and deletes devices."""

    database: Database
    clock: Clock

    async def of_user(self, user_id: UserID) -> list[Device]:
        """All devices of the user, in the order of their IDs."""
        return await self.database.read(devices.of_user, user_id)

    async def find(self, user_id: UserID, device_id: DeviceID) -> Device:
        """One device. Errors: NotFound."""
        found = await self.database.read(devices.find, user_id, device_id)
        if found is None:
            raise NotFound("There is no such device")
        return found

    async def update(self, requester: Requester, device_id: DeviceID, display_name: str | None) -> bool:
        """Name a device (None: the name stays), or for an application service, make one; whether it was made.

        Errors: NotFound; TooLarge, InvalidParam.
        """
        if display_name is not None:
            check_display_name(display_name)
        may_create = requester.appservice_id is not None
        if may_create:
            check_device_id(device_id)
        return await self.database.write(
            update,
            requester.user_id,
            device_id,
            display_name,
            may_create=may_create,
            now_ts=self.clock.now_ts(),
        )

    async def remove(self, user_id: UserID, device_ids: Collection[DeviceID]) -> None:
        """Delete devices, and all that they have; it is no matter if they are gone already."""
        await self.database.write(end_sessions, user_id, device_ids)


def update(
    tx: WriteTransaction,
    user_id: UserID,
    device_id: DeviceID,
    display_name: str | None,
    *,
    may_create: bool,
    now_ts: int,
) -> bool:
    """Name a device, or make it; whether it was made. Errors: NotFound."""
    if may_create and devices.add(tx, user_id, device_id, display_name=display_name, now_ts=now_ts):
        device_added(tx, user_id, device_id)
        return True
    if devices.find(tx, user_id, device_id) is None:
        raise NotFound("There is no such device")
    if display_name is not None:
        devices.rename(tx, user_id, device_id, display_name)
    return False
