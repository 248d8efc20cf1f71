"""What other servers may see of the devices and keys of users here.

Never the keys of the usage user_signing, nor what users have signed of each other's keys.
"""

from collections.abc import Collection

from sqlalchemy import and_, bindparam, func, or_, select

from homeserver.core.identifiers import DeviceID, UserID
from homeserver.database.statements import in_list, statement
from homeserver.database.tables.accounts import devices, users
from homeserver.database.tables.encryption import cross_signing_keys, device_keys
from homeserver.database.tables.remote_devices import device_change_limits, device_changes
from homeserver.database.transactions import ReadTransaction

_d = device_keys.c
_k = cross_signing_keys.c
_c = device_changes.c
# Keys without a device would be those of one that is gone.
_of_devices = device_keys.join(
    devices, and_(devices.c.user_id == _d.user_id, devices.c.device_id == _d.device_id)
)
OF_USERS = statement(
    select(_d.user_id, _d.device_id, _d["keys"])
    .select_from(_of_devices)
    .where(in_list(_d.user_id, "user_ids"))
    .order_by(_d.user_id, _d.device_id)
)
OF_DEVICES = statement(
    select(_d.user_id, _d.device_id, _d["keys"])
    .select_from(_of_devices)
    .where(in_list(_d.user_id, "user_ids"), in_list(_d.device_id, "device_ids"))
)
USER_KEYS = statement(
    select(_k.user_id, _k.usage, _k["keys"]).where(
        in_list(_k.user_id, "user_ids"), or_(_k.usage == "master", _k.usage == "self_signing")
    )
)
EXISTING = statement(select(users.c.user_id).where(in_list(users.c.user_id, "user_ids")))
STREAM_ID = statement(
    select(func.max(_c.position)).where(_c.user_id == bindparam("user_id"), _c.device_id != "")
)
FORGOTTEN = statement(
    select(device_change_limits.c.forgotten_position).where(
        device_change_limits.c.user_id == bindparam("user_id")
    )
)


def of_users(tx: ReadTransaction, user_ids: Collection[UserID]) -> dict[UserID, dict[DeviceID, bytes]]:
    """The keys of all devices of these users that have some, as canonical JSON."""
    return _by_user(tx.all(OF_USERS, user_ids=sorted(user_ids)))


def of_devices(
    tx: ReadTransaction, user_ids: Collection[UserID], device_ids: Collection[DeviceID]
) -> dict[UserID, dict[DeviceID, bytes]]:
    """As `of_users`, of devices with these IDs."""
    return _by_user(tx.all(OF_DEVICES, user_ids=sorted(user_ids), device_ids=sorted(device_ids)))


def user_keys(tx: ReadTransaction, user_ids: Collection[UserID]) -> dict[UserID, dict[str, bytes]]:
    """The master and self-signing keys of these users by their usage, as canonical JSON."""
    found: dict[UserID, dict[str, bytes]] = {}
    for user_id, usage, keys in tx.all(USER_KEYS, user_ids=sorted(user_ids)):
        found.setdefault(user_id, {})[usage] = keys
    return found


def existing(tx: ReadTransaction, user_ids: Collection[UserID]) -> set[UserID]:
    """Those of the users who have an account here."""
    return {row[0] for row in tx.all(EXISTING, user_ids=sorted(user_ids))}


def stream_id(tx: ReadTransaction, user_id: UserID) -> int:
    """The `stream_id` of the last update about the user's devices, whoever was sent that; 0 if there was none."""
    last: int | None = tx.value(STREAM_ID, user_id=user_id)
    forgotten: int | None = tx.value(FORGOTTEN, user_id=user_id)
    return max(last or 0, forgotten or 0)


def _by_user(rows: Collection[tuple[UserID, DeviceID, bytes]]) -> dict[UserID, dict[DeviceID, bytes]]:
    found: dict[UserID, dict[DeviceID, bytes]] = {}
    for user_id, device_id, keys in rows:
        found.setdefault(user_id, {})[device_id] = keys
    return found
