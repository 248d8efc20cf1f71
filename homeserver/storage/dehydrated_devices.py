"""The dehydrated device that a user may have: what a client needs to make use of it. Spec: MSC3814."""

from collections.abc import Collection

import attrs
from sqlalchemy import bindparam, delete, select

from homeserver.core.identifiers import DeviceID, UserID
from homeserver.database.statements import in_list, statement, upsert
from homeserver.database.tables.dehydrated_devices import dehydrated_devices
from homeserver.database.transactions import ReadTransaction, WriteTransaction


@attrs.frozen(slots=True)
class DehydratedDevice:
    """The device; `device_data` is the JSON of an object."""

    device_id: DeviceID
    device_data: bytes = attrs.field(repr=False)


_d = dehydrated_devices.c
DEVICE = statement(select(_d.device_id, _d.device_data).where(_d.user_id == bindparam("user_id")))
SET = upsert(dehydrated_devices, key=["user_id"])
DELETE = statement(
    delete(dehydrated_devices).where(_d.user_id == bindparam("user_id"), in_list(_d.device_id, "device_ids"))
)


def of(tx: ReadTransaction, user_id: UserID) -> DehydratedDevice | None:
    """The user's dehydrated device, `None` if there is none."""
    row = tx.one(DEVICE, user_id=user_id)
    return None if row is None else DehydratedDevice(*row)


def put(tx: WriteTransaction, user_id: UserID, device: DehydratedDevice) -> None:
    """Set the user's dehydrated device; the one before is not deleted from `devices` by that."""
    tx.execute(SET, user_id=user_id, device_id=device.device_id, device_data=device.device_data)


def remove_of_devices(tx: WriteTransaction, user_id: UserID, device_ids: Collection[DeviceID]) -> None:
    """Forget the dehydrated device, if it is one of these."""
    tx.execute(DELETE, user_id=user_id, device_ids=list(device_ids))
