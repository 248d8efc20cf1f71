"""Keys of the devices of users here, and the names that these have given their devices."""

from collections.abc import Collection

from sqlalchemy import and_, bindparam, delete, select

from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.identity_keys import DeviceKeys
from homeserver.database.statements import in_list, statement, upsert
from homeserver.database.tables.accounts import devices
from homeserver.database.tables.encryption import device_keys
from homeserver.database.transactions import ReadTransaction, WriteTransaction

_d = device_keys.c
_of_devices = device_keys.join(
    devices, and_(devices.c.user_id == _d.user_id, devices.c.device_id == _d.device_id)
)
OF_USERS = statement(
    select(_d.user_id, _d.device_id, _d["keys"], devices.c.display_name)
    .select_from(_of_devices)
    .where(in_list(_d.user_id, "user_ids"))
)
OF_USER = statement(select(_d.device_id, _d["keys"]).where(_d.user_id == bindparam("user_id")))
ONE = statement(
    select(_d["keys"]).where(_d.user_id == bindparam("user_id"), _d.device_id == bindparam("device_id"))
)
PUT = upsert(device_keys, key=["user_id", "device_id"])
REMOVE = statement(
    delete(device_keys).where(_d.user_id == bindparam("user_id"), in_list(_d.device_id, "device_ids"))
)


def of_users(tx: ReadTransaction, user_ids: Collection[UserID]) -> dict[UserID, list[DeviceKeys]]:
    """The devices of these users that have keys, with their names."""
    found: dict[UserID, list[DeviceKeys]] = {}
    for user_id, device_id, keys, display_name in tx.all(OF_USERS, user_ids=sorted(user_ids)):
        found.setdefault(user_id, []).append(DeviceKeys(device_id, keys, display_name))
    return found


def of_user(tx: ReadTransaction, user_id: UserID) -> dict[DeviceID, bytes]:
    """The keys of all devices of a user that have some, as canonical JSON."""
    return {row[0]: row[1] for row in tx.all(OF_USER, user_id=user_id)}


def find(tx: ReadTransaction, user_id: UserID, device_id: DeviceID) -> bytes | None:
    """The keys of a device, as canonical JSON; None if it has none."""
    keys: bytes | None = tx.value(ONE, user_id=user_id, device_id=device_id)
    return keys


def put(tx: WriteTransaction, user_id: UserID, device_id: DeviceID, keys: bytes) -> None:
    """Set the keys of a device, canonical JSON."""
    tx.execute(PUT, user_id=user_id, device_id=device_id, keys=keys, display_name=None)


def remove(tx: WriteTransaction, user_id: UserID, device_ids: Collection[DeviceID]) -> bool:
    """Remove the keys of devices; whether there were any."""
    return tx.execute(REMOVE, user_id=user_id, device_ids=sorted(device_ids)) > 0
