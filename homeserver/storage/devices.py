"""Devices: a user's logins, each with its name and when it was last seen."""

from collections.abc import Collection

import msgspec
from sqlalchemy import bindparam, delete, or_, select, update

from homeserver.core.identifiers import DeviceID, UserID
from homeserver.database.statements import in_list, insert_into, statement
from homeserver.database.tables.accounts import devices
from homeserver.database.transactions import ReadTransaction, WriteTransaction


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A device; None stands for a name never given, or for never having been seen."""

    device_id: DeviceID
    display_name: str | None
    last_seen_ts: int | None
    last_seen_ip: str | None
    last_seen_user_agent: str | None


_d = devices.c
_COLUMNS = [_d[name] for name in Device.__struct_fields__]
_OWN = _d.user_id == bindparam("user_id")
_THIS = (_d.user_id == bindparam("the_user"), _d.device_id == bindparam("the_device"))

DEVICES = statement(select(*_COLUMNS).where(_OWN).order_by(_d.device_id))
DEVICE = statement(select(*_COLUMNS).where(_OWN, _d.device_id == bindparam("device_id")))
LOCK = statement(select(_d.device_id).where(_OWN, _d.device_id == bindparam("device_id")).with_for_update())
IDS = statement(select(_d.device_id).where(_OWN).order_by(_d.device_id))
INSERT = insert_into(devices, ignore_conflict=True)
RENAME = statement(update(devices).where(*_THIS).values(display_name=bindparam("display_name")))
SEEN = statement(
    update(devices)
    .where(*_THIS, or_(_d.last_seen_ts.is_(None), _d.last_seen_ts <= bindparam("before_ts")))
    .values(
        last_seen_ts=bindparam("last_seen_ts"),
        last_seen_ip=bindparam("last_seen_ip"),
        last_seen_user_agent=bindparam("last_seen_user_agent"),
    )
)
DELETE = statement(delete(devices).where(_OWN, in_list(_d.device_id, "device_ids")).returning(_d.device_id))


def add(
    tx: WriteTransaction, user_id: UserID, device_id: DeviceID, *, display_name: str | None, now_ts: int
) -> bool:
    """Add a device; False (and nothing changed) if the user has one of that ID."""
    return (
        tx.execute(
            INSERT,
            user_id=user_id,
            device_id=device_id,
            display_name=display_name,
            created_ts=now_ts,
            last_seen_ts=None,
            last_seen_ip=None,
            last_seen_user_agent=None,
        )
        == 1
    )


def of_user(tx: ReadTransaction, user_id: UserID) -> list[Device]:
    """The user's devices, in the order of their IDs."""
    return [Device(**dict(zip(_NAMES, row, strict=True))) for row in tx.all(DEVICES, user_id=user_id)]


def find(tx: ReadTransaction, user_id: UserID, device_id: DeviceID) -> Device | None:
    """One device, None if the user has none of that ID."""
    row = tx.one(DEVICE, user_id=user_id, device_id=device_id)
    return None if row is None else Device(**dict(zip(_NAMES, row, strict=True)))


def lock(tx: WriteTransaction, user_id: UserID, device_id: DeviceID) -> bool:
    """Whether there is such a device; nobody deletes it until the commit."""
    return tx.one(LOCK, user_id=user_id, device_id=device_id) is not None


def ids_of_user(tx: ReadTransaction, user_id: UserID) -> list[DeviceID]:
    """The IDs of the user's devices."""
    return [DeviceID(row[0]) for row in tx.all(IDS, user_id=user_id)]


def rename(tx: WriteTransaction, user_id: UserID, device_id: DeviceID, display_name: str) -> bool:
    """Change the display name; False if there is no such device."""
    return tx.execute(RENAME, the_user=user_id, the_device=device_id, display_name=display_name) == 1


def seen(
    tx: WriteTransaction,
    user_id: UserID,
    device_id: DeviceID,
    *,
    now_ts: int,
    before_ts: int,
    ip: str,
    user_agent: str | None,
) -> bool:
    """The device was used; False (and nothing changed) if it was already seen after `before_ts`."""
    return (
        tx.execute(
            SEEN,
            the_user=user_id,
            the_device=device_id,
            last_seen_ts=now_ts,
            before_ts=before_ts,
            last_seen_ip=ip,
            last_seen_user_agent=user_agent,
        )
        == 1
    )


def remove(tx: WriteTransaction, user_id: UserID, device_ids: Collection[DeviceID]) -> list[DeviceID]:
    """Delete these devices, and give those that there were; what belongs to them elsewhere is not touched."""
    return [DeviceID(row[0]) for row in tx.returning(DELETE, user_id=user_id, device_ids=list(device_ids))]


_NAMES = Device.__struct_fields__
