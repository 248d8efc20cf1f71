"""Who is typing where. A row stays for a while after its user has stopped, so that readers notice."""

from collections.abc import Collection

import msgspec
from sqlalchemy import and_, bindparam, delete, exists, select, update

from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.topics import room_topic
from homeserver.database.kinds import Kind
from homeserver.database.statements import in_list, statement, upsert
from homeserver.database.tables.ephemeral import typing
from homeserver.database.tables.rooms import memberships, rooms
from homeserver.database.transactions import ReadTransaction, WriteTransaction


class Expired(msgspec.Struct, frozen=True):
    """Someone whose typing has ended by itself."""

    room_nid: int
    room_id: RoomID
    user_id: UserID


_t = typing.c
_m = memberships.c
SET = upsert(typing, key=["room_nid", "user_id"])
EXPIRES_TS = statement(
    select(_t.expires_ts)
    .where(_t.room_nid == bindparam("room_nid"), _t.user_id == bindparam("user_id"))
    .with_for_update()
)
EXTEND = statement(
    update(typing)
    .where(_t.room_nid == bindparam("the_room"), _t.user_id == bindparam("the_user"))
    .values(expires_ts=bindparam("until_ts"))
)
NOW = statement(
    select(_t.room_nid, _t.user_id)
    .where(
        in_list(_t.room_nid, "room_nids"),
        _t.expires_ts > bindparam("now_ts"),
        exists().where(_m.room_nid == _t.room_nid, _m.user_id == _t.user_id, _m.membership == "join"),
    )
    .order_by(_t.position)
)
CHANGED = statement(
    select(_t.room_nid)
    .where(
        in_list(_t.room_nid, "room_nids"),
        _t.position > bindparam("since"),
        _t.position <= bindparam("upto"),
    )
    .distinct()
)
_expired = and_(_t.expires_ts > 0, _t.expires_ts <= bindparam("now_ts"))
IS_DUE = statement(
    select(exists().where(_expired)),
)
EXPIRED = statement(
    select(_t.room_nid, rooms.c.room_id, _t.user_id)
    .select_from(typing.join(rooms, rooms.c.room_nid == _t.room_nid))
    .where(_expired)
    .order_by(_t.expires_ts)
    .limit(bindparam("most"))
    .with_for_update(of=typing, skip_locked=True)
)
PRUNE = statement(delete(typing).where(_t.expires_ts < 0, _t.expires_ts > bindparam("minus_before_ts")))


def start(
    tx: WriteTransaction, room_nid: int, room_id: RoomID, user_id: UserID, *, now_ts: int, expires_ts: int
) -> bool:
    """The user types until `expires_ts`. The room is told unless it knows; whether it was."""
    current: int | None = tx.value(EXPIRES_TS, room_nid=room_nid, user_id=user_id)
    if current is not None and current > now_ts:
        tx.execute(EXTEND, the_room=room_nid, the_user=user_id, until_ts=expires_ts)
        return False
    _publish(tx, room_nid, room_id, user_id, expires_ts)
    return True


def stop(tx: WriteTransaction, room_nid: int, room_id: RoomID, user_id: UserID, *, now_ts: int) -> bool:
    """The user types no more. The room is told unless it knows; whether it was."""
    current: int | None = tx.value(EXPIRES_TS, room_nid=room_nid, user_id=user_id)
    if current is None or current < 0:
        return False
    _publish(tx, room_nid, room_id, user_id, -now_ts)
    return True


def is_due(tx: ReadTransaction, *, now_ts: int) -> bool:
    """Whether someone's typing has ended by itself, and the room has not been told yet."""
    return bool(tx.value(IS_DUE, now_ts=now_ts))


def expire(tx: WriteTransaction, *, now_ts: int, most: int) -> list[Expired]:
    """Tell the rooms of up to `most` users whose typing has ended by itself, unless another process does."""
    expired = [Expired(*row) for row in tx.all(EXPIRED, now_ts=now_ts, most=most)]
    for one in expired:
        _publish(tx, one.room_nid, one.room_id, one.user_id, -now_ts)
    return expired


def prune(tx: WriteTransaction, *, before_ts: int) -> int:
    """Forget who stopped typing before that moment; gives how many."""
    return tx.execute(PRUNE, minus_before_ts=-before_ts)


def now(tx: ReadTransaction, room_nids: Collection[int], *, now_ts: int) -> dict[int, list[UserID]]:
    """Who is typing, by room, in the order in which they started; rooms where nobody types are left out."""
    found: dict[int, list[UserID]] = {}
    for room_nid, user_id in tx.all(NOW, room_nids=list(room_nids), now_ts=now_ts):
        found.setdefault(room_nid, []).append(user_id)
    return found


def changed(tx: ReadTransaction, room_nids: Collection[int], *, since: int, upto: int) -> set[int]:
    """The rooms in which someone started or stopped typing with `since < position <= upto`."""
    return {row[0] for row in tx.all(CHANGED, room_nids=list(room_nids), since=since, upto=upto)}


def _publish(tx: WriteTransaction, room_nid: int, room_id: RoomID, user_id: UserID, expires_ts: int) -> None:
    tx.publish(
        SET,
        kind=Kind.TYPING,
        to=[room_topic(room_id)],
        room_nid=room_nid,
        user_id=user_id,
        expires_ts=expires_ts,
    )
