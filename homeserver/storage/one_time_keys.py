"""One-time and fallback keys: each one-time key is handed out once, in the order in which they were uploaded."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from homeserver.core.identifiers import DeviceID, UserID
from homeserver.core.key_uploads import OneTimeKey
from homeserver.core.topics import keys_topic
from homeserver.database.kinds import Kind
from homeserver.database.statements import Statement, in_list, insert_into, statement, upsert
from homeserver.database.tables.encryption import (
    claimed_keys,
    fallback_keys,
    one_time_key_changes,
    one_time_keys,
)
from homeserver.database.transactions import ReadTransaction, WriteTransaction

MOST_REMEMBERED: Final = 1_000
"""Keys of a device that have been handed out and are remembered. There may be half as many soon after."""


class KeyCounts(msgspec.Struct, frozen=True):
    """What a device has that can still be claimed: one-time keys by algorithm, and algorithms of fallback keys."""

    one_time_keys: Mapping[str, int] = msgspec.field(default_factory=dict)
    unused_fallback_keys: tuple[str, ...] = ()


_o = one_time_keys.c
_f = fallback_keys.c
_g = claimed_keys.c
_n = one_time_key_changes.c
_OTK_DEVICE = (_o.user_id == bindparam("user_id"), _o.device_id == bindparam("device_id"))
_FALLBACK_DEVICE = (_f.user_id == bindparam("user_id"), _f.device_id == bindparam("device_id"))
_CLAIMED_DEVICE = (_g.user_id == bindparam("user_id"), _g.device_id == bindparam("device_id"))

KNOWN = statement(select(_o.algorithm, _o.key_id, _o.key).where(*_OTK_DEVICE, in_list(_o.key_id, "key_ids")))
CLAIMED = statement(
    select(_g.algorithm, _g.key_id, _g.key_hash).where(*_CLAIMED_DEVICE, in_list(_g.key_id, "key_ids"))
)
ADD = insert_into(one_time_keys, ignore_conflict=True)
_first = one_time_keys.alias("first")
CLAIM = statement(
    delete(one_time_keys)
    .where(
        *_OTK_DEVICE,
        _o.algorithm == bindparam("algorithm"),
        _o.key_id
        == select(_first.c.key_id)
        .where(
            _first.c.user_id == bindparam("user_id"),
            _first.c.device_id == bindparam("device_id"),
            _first.c.algorithm == bindparam("algorithm"),
        )
        .order_by(_first.c.position, _first.c.key_id)
        .limit(1)
        # What another process hands out at the moment is gone.
        .with_for_update(skip_locked=True)
        .scalar_subquery(),
    )
    .returning(_o.key_id, _o.key)
)
REMEMBER = insert_into(claimed_keys, ignore_conflict=True)
COUNT_CLAIMED = statement(select(func.count()).select_from(claimed_keys).where(*_CLAIMED_DEVICE))
FIRST_REMEMBERED = statement(
    select(_g.position)
    .where(*_CLAIMED_DEVICE)
    .order_by(_g.position.desc())
    .offset(bindparam("kept"))
    .limit(1)
)
FORGET_CLAIMED = statement(delete(claimed_keys).where(*_CLAIMED_DEVICE, _g.position <= bindparam("upto")))
COUNTS = statement(
    select(_o.algorithm, func.count()).where(*_OTK_DEVICE).group_by(_o.algorithm).order_by(_o.algorithm)
)
FALLBACK = statement(
    select(_f.key_id, _f.key, _f.is_used).where(*_FALLBACK_DEVICE, _f.algorithm == bindparam("algorithm"))
)
FALLBACKS = statement(
    select(_f.algorithm, _f.key_id, _f.key, _f.is_used).where(*_FALLBACK_DEVICE).order_by(_f.algorithm)
)
PUT_FALLBACK = upsert(fallback_keys, key=["user_id", "device_id", "algorithm"])
USE_FALLBACK = statement(
    update(fallback_keys)
    .where(
        _f.user_id == bindparam("the_user"),
        _f.device_id == bindparam("the_device"),
        _f.algorithm == bindparam("the_algorithm"),
    )
    .values(is_used=1)
)
_change = insert(one_time_key_changes)
CHANGE = statement(
    _change.on_conflict_do_update(
        index_elements=["user_id", "device_id"], set_={"position": _change.excluded.position}
    ),
    [column.name for column in one_time_key_changes.columns],
)
CHANGED = statement(
    select(_n.position).where(_n.user_id == bindparam("user_id"), _n.device_id == bindparam("device_id"))
)
REMOVALS = tuple(
    statement(
        delete(table).where(table.c.user_id == bindparam("user_id"), in_list(table.c.device_id, "device_ids"))
    )
    for table in (one_time_keys, claimed_keys, fallback_keys, one_time_key_changes)
)


def known(
    tx: ReadTransaction, user_id: UserID, device_id: DeviceID, keys: Collection[OneTimeKey]
) -> dict[str, bytes]:
    """Those of the keys whose names the device has used, by their names: the hash of what was uploaded so."""
    key_ids = sorted({key.key_id for key in keys})
    found: dict[str, bytes] = {}
    for algorithm, key_id, key_hash in tx.all(CLAIMED, user_id=user_id, device_id=device_id, key_ids=key_ids):
        found[f"{algorithm}:{key_id}"] = key_hash
    for algorithm, key_id, key in tx.all(KNOWN, user_id=user_id, device_id=device_id, key_ids=key_ids):
        kept = OneTimeKey(algorithm, key_id, key)
        found[kept.name] = kept.key_hash
    return found


def add(tx: WriteTransaction, user_id: UserID, device_id: DeviceID, keys: Sequence[OneTimeKey]) -> None:
    """Add keys of names that are new, after all that there are; the device is told."""
    added: list[tuple[Statement, dict[str, Any]]] = [
        (
            ADD,
            {
                "user_id": user_id,
                "device_id": device_id,
                "algorithm": key.algorithm,
                "key_id": key.key_id,
                "key": key.key,
            },
        )
        for key in keys
    ]
    _publish(tx, user_id, device_id, added)


def claim(tx: WriteTransaction, user_id: UserID, device_id: DeviceID, algorithm: str) -> OneTimeKey | None:
    """Hand out the device's oldest one-time key, or else its fallback key; None if it has neither. It is told."""
    for key_id, key in tx.returning(CLAIM, user_id=user_id, device_id=device_id, algorithm=algorithm):
        claimed = OneTimeKey(algorithm, key_id, key)
        _forget_some(tx, user_id, device_id)
        remembered = {
            "user_id": user_id,
            "device_id": device_id,
            "algorithm": algorithm,
            "key_id": key_id,
            "key_hash": claimed.key_hash,
        }
        _publish(tx, user_id, device_id, [(REMEMBER, remembered)])
        return claimed
    row = tx.one(FALLBACK, user_id=user_id, device_id=device_id, algorithm=algorithm)
    if row is None:
        return None
    key_id, key, is_used = row
    if not is_used:
        tx.execute(USE_FALLBACK, the_user=user_id, the_device=device_id, the_algorithm=algorithm)
        _publish(tx, user_id, device_id, [])
    return OneTimeKey(algorithm, key_id, key)


def set_fallback_keys(
    tx: WriteTransaction, user_id: UserID, device_id: DeviceID, keys: Collection[OneTimeKey]
) -> None:
    """Replace the fallback keys of these keys' algorithms; one that is there already stays as it is."""
    kept = {
        OneTimeKey(algorithm, key_id, key)
        for algorithm, key_id, key, _ in tx.all(FALLBACKS, user_id=user_id, device_id=device_id)
    }
    new = [key for key in keys if key not in kept]
    for key in new:
        tx.execute(
            PUT_FALLBACK,
            user_id=user_id,
            device_id=device_id,
            algorithm=key.algorithm,
            key_id=key.key_id,
            key=key.key,
            is_used=0,
        )
    if new:
        _publish(tx, user_id, device_id, [])


def counts(tx: ReadTransaction, user_id: UserID, device_id: str) -> KeyCounts:
    """What the device has."""
    one_time = {row[0]: row[1] for row in tx.all(COUNTS, user_id=user_id, device_id=device_id)}
    fallback = tx.all(FALLBACKS, user_id=user_id, device_id=device_id)
    return KeyCounts(one_time, tuple(algorithm for algorithm, _, _, is_used in fallback if not is_used))


def changed_at(tx: ReadTransaction, user_id: UserID, device_id: str) -> int:
    """Where in the stream it last changed what the device has; 0 if it never had anything."""
    position: int | None = tx.value(CHANGED, user_id=user_id, device_id=device_id)
    return position or 0


def tell(tx: WriteTransaction, user_id: UserID, device_id: DeviceID) -> None:
    """Tell the device what it has."""
    _publish(tx, user_id, device_id, [])


def remove(tx: WriteTransaction, user_id: UserID, device_ids: Collection[DeviceID]) -> None:
    """Forget all that these devices have and had."""
    for removal in REMOVALS:
        tx.execute(removal, user_id=user_id, device_ids=sorted(device_ids))


def _publish(
    tx: WriteTransaction,
    user_id: UserID,
    device_id: DeviceID,
    also: Sequence[tuple[Statement, dict[str, Any]]],
) -> None:
    tx.publish(
        CHANGE,
        kind=Kind.DEVICE_LISTS,
        to=[keys_topic(user_id)],
        also=also,
        user_id=user_id,
        device_id=device_id,
    )


def _forget_some(tx: WriteTransaction, user_id: UserID, device_id: DeviceID) -> None:
    if tx.value(COUNT_CLAIMED, user_id=user_id, device_id=device_id) < MOST_REMEMBERED:
        return
    upto = tx.value(FIRST_REMEMBERED, user_id=user_id, device_id=device_id, kept=MOST_REMEMBERED // 2)
    if upto is not None:
        tx.execute(FORGET_CLAIMED, user_id=user_id, device_id=device_id, upto=upto)
