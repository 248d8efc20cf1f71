"""Presence: a row per user that others see, and a row per device of this server's users while it is there.

Others are those who share a room with the user. A change wakes only the readers in a few small rooms of the
user (and the user's own): in large rooms it would wake thousands for next to nothing, so there it comes along
with whatever is read next, or with the reader's tick.
"""

from collections.abc import Collection
from typing import Final

import msgspec
from sqlalchemy import (
    FromClause,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    or_,
    select,
    update,
)

from homeserver.core.identifiers import UserID
from homeserver.core.json import decode
from homeserver.core.presence import DevicePresence, UserPresence
from homeserver.core.profiles import AVATAR_URL, DISPLAY_NAME, NameAndAvatar
from homeserver.core.topics import room_topic, user_topic
from homeserver.database.kinds import Kind
from homeserver.database.statements import in_list, insert_into, statement, upsert
from homeserver.database.tables.accounts import profiles
from homeserver.database.tables.ephemeral import device_presence, presence
from homeserver.database.tables.rooms import memberships, rooms
from homeserver.database.transactions import ReadTransaction, Row, WriteTransaction

SMALL_ROOM: Final = 25
"""Members of a room in which a change of presence wakes the others."""

MOST_ROOMS: Final = 20
"""How many of those, the smallest first."""


class PresenceOf(msgspec.Struct, frozen=True):
    """The presence of a user, with what the user is called; `position` is that of the last change."""

    user_id: UserID
    presence: UserPresence
    profile: NameAndAvatar


_p = presence.c
_d = device_presence.c
_m = memberships.c
_mine = memberships.alias("mine")
_theirs = memberships.alias("theirs")
_name = profiles.alias("name")
_avatar = profiles.alias("avatar")

_STATE = (_p.presence, _p.status_msg, _p.last_active_ts, _p.currently_active)
STATE = statement(select(*_STATE).where(_p.user_id == bindparam("user_id")))
STATE_LOCKED = statement(select(*_STATE).where(_p.user_id == bindparam("user_id")).with_for_update())
RESERVE = insert_into(presence, ignore_conflict=True)
SET = upsert(presence, key=["user_id"])
REFRESH = statement(
    update(presence)
    .where(_p.user_id == bindparam("the_user"))
    .values(last_active_ts=bindparam("active_ts"), expires_ts=bindparam("until_ts"))
)
EXPIRED = statement(
    select(_p.user_id)
    .where(_p.expires_ts <= bindparam("now_ts"))
    .order_by(_p.expires_ts)
    .limit(bindparam("most"))
)
EXPIRES_TS = statement(select(_p.expires_ts).where(_p.user_id == bindparam("user_id")))
IS_IN_ANY_ROOM = statement(
    select(exists().where(_m.user_id == bindparam("user_id"), _m.membership == "join"))
)
SET_ACTIVE = statement(
    update(presence).where(_p.user_id == bindparam("the_user")).values(last_active_ts=bindparam("active_ts"))
)
DEVICES = statement(
    select(_d.device_id, _d.presence, _d.last_active_ts, _d.expires_ts).where(
        _d.user_id == bindparam("user_id")
    )
)
SET_DEVICE = upsert(device_presence, key=["user_id", "device_id"])
DELETE_DEVICE = statement(
    delete(device_presence).where(_d.user_id == bindparam("user_id"), _d.device_id == bindparam("device_id"))
)
DUE = statement(
    select(_d.user_id)
    .where(_d.changes_ts <= bindparam("now_ts"))
    .order_by(_d.changes_ts)
    .limit(bindparam("most"))
)
SMALL_ROOMS = statement(
    select(rooms.c.room_id)
    .select_from(memberships.join(rooms, rooms.c.room_nid == _m.room_nid))
    .where(
        _m.user_id == bindparam("user_id"),
        _m.membership == "join",
        rooms.c.joined_members > 1,
        rooms.c.joined_members <= SMALL_ROOM,
    )
    .order_by(rooms.c.joined_members, rooms.c.room_nid)
    .limit(MOST_ROOMS)
)
_shared_room = and_(
    _mine.c.room_nid == _theirs.c.room_nid,
    _mine.c.membership == "join",
    _theirs.c.membership == "join",
)
SHARE_A_ROOM = statement(
    select(
        exists().where(
            _mine.c.user_id == bindparam("user_id"),
            _theirs.c.user_id == bindparam("other_id"),
            _shared_room,
        )
    )
)


def _named() -> FromClause:
    """Presence rows with the display name and the avatar of their users."""
    return presence.outerjoin(
        _name, and_(_name.c.user_id == _p.user_id, _name.c.field == DISPLAY_NAME)
    ).outerjoin(_avatar, and_(_avatar.c.user_id == _p.user_id, _avatar.c.field == AVATAR_URL))


def _shown() -> "Select[tuple[object, ...]]":
    columns = (_p.user_id, *_STATE, _name.c.value, _avatar.c.value)
    return (
        select(*columns).select_from(_named()).where(_p.position <= bindparam("upto")).order_by(_p.position)
    )


_visible = or_(
    _p.user_id == bindparam("reader"),
    exists().where(_theirs.c.user_id == _p.user_id, _mine.c.user_id == bindparam("reader"), _shared_room),
)
SINCE = statement(_shown().where(_p.position > bindparam("since"), _visible))
ALL = statement(_shown().where(_p.presence != "offline", _visible))
OF_USERS = statement(_shown().where(in_list(_p.user_id, "user_ids")))
_newer = or_(_mine.c.since_position > bindparam("since"), _theirs.c.since_position > bindparam("since"))
NEWLY_MET = statement(
    _shown().where(
        _p.presence != "offline",
        _p.user_id != bindparam("reader"),
        _p.user_id.in_(
            select(_theirs.c.user_id).where(
                in_list(_theirs.c.room_nid, "room_nids"),
                _mine.c.user_id == bindparam("reader"),
                _shared_room,
                _newer,
            )
        ),
    )
)


def of(tx: ReadTransaction, user_id: UserID) -> UserPresence | None:
    """The user's presence, `None` if none has ever been known."""
    row = tx.one(STATE, user_id=user_id)
    return None if row is None else _state(row)


def share_a_room(tx: ReadTransaction, user_id: UserID, other_id: UserID) -> bool:
    """Whether both are joined to some room."""
    return bool(tx.value(SHARE_A_ROOM, user_id=user_id, other_id=other_id))


def since(tx: ReadTransaction, reader: UserID, *, since: int, upto: int) -> list[PresenceOf]:
    """Whose presence changed with `since < position <= upto`, of those who share a room with `reader`.

    In the order of the changes. For a reader who begins (`since` is 0) those who are not there are left out.
    """
    if since == 0:
        return [_presence_of(row) for row in tx.all(ALL, reader=reader, upto=upto)]
    return [_presence_of(row) for row in tx.all(SINCE, reader=reader, since=since, upto=upto)]


def of_users(tx: ReadTransaction, user_ids: Collection[UserID], *, upto: int) -> list[PresenceOf]:
    """The presence of these users where it is known; whether the reader may see it, the caller says."""
    return [_presence_of(row) for row in tx.all(OF_USERS, user_ids=list(user_ids), upto=upto)]


def newly_met(
    tx: ReadTransaction, reader: UserID, room_nids: Collection[int], *, since: int, upto: int
) -> list[PresenceOf]:
    """Who is there and has come into one of these rooms after `since`, or was in one that `reader` has come into."""
    if not room_nids:
        return []
    rows = tx.all(NEWLY_MET, reader=reader, room_nids=list(room_nids), since=since, upto=upto)
    return [_presence_of(row) for row in rows]


def lock(tx: WriteTransaction, user_id: UserID) -> UserPresence:
    """The user's presence, which nobody else changes until the commit; offline if none was known."""
    tx.execute(
        RESERVE,
        user_id=user_id,
        presence="offline",
        status_msg=None,
        last_active_ts=0,
        currently_active=0,
        expires_ts=None,
        position=0,
    )
    row = tx.one(STATE_LOCKED, user_id=user_id)
    assert row is not None  # noqa: S101 - it is reserved
    return _state(row)


def put(tx: WriteTransaction, user_id: UserID, state: UserPresence, *, expires_ts: int | None = None) -> None:
    """Set the user's presence; who may see it is told, as the module says.

    `expires_ts` is for users of other servers: when nothing of it holds any more unless it is said again.
    """
    small_rooms = [room_topic(row[0]) for row in tx.all(SMALL_ROOMS, user_id=user_id)]
    tx.publish(
        SET,
        kind=Kind.PRESENCE,
        to=[user_topic(user_id), *small_rooms],
        user_id=user_id,
        presence=state.presence,
        status_msg=state.status_msg,
        last_active_ts=state.last_active_ts or 0,
        currently_active=int(state.currently_active),
        expires_ts=expires_ts,
    )


def refresh(tx: WriteTransaction, user_id: UserID, *, active_ts: int, expires_ts: int | None) -> None:
    """What is known of a user of another server holds for longer; nobody is told, since nobody's view changes."""
    tx.execute(REFRESH, the_user=user_id, active_ts=active_ts, until_ts=expires_ts)


def expired(tx: ReadTransaction, *, now_ts: int, most: int) -> list[UserID]:
    """Up to `most` users of other servers whose presence holds no more, the longest silent first."""
    return [row[0] for row in tx.all(EXPIRED, now_ts=now_ts, most=most)]


def is_expired(tx: ReadTransaction, user_id: UserID, *, now_ts: int) -> bool:
    """Whether the presence of a user of another server holds no more."""
    expires_ts: int | None = tx.value(EXPIRES_TS, user_id=user_id)
    return expires_ts is not None and expires_ts <= now_ts


def is_in_any_room(tx: ReadTransaction, user_id: UserID) -> bool:
    """Whether the user is joined to any room that this server knows."""
    return bool(tx.value(IS_IN_ANY_ROOM, user_id=user_id))


def set_active(tx: WriteTransaction, user_id: UserID, active_ts: int) -> None:
    """The user was active; nobody is told, since nobody's view of the user changes."""
    tx.execute(SET_ACTIVE, the_user=user_id, active_ts=active_ts)


def devices_of(tx: ReadTransaction, user_id: UserID) -> dict[str, DevicePresence]:
    """The user's devices that are there, or were until just now."""
    return {row[0]: DevicePresence(*row) for row in tx.all(DEVICES, user_id=user_id)}


def put_device(tx: WriteTransaction, user_id: UserID, device: DevicePresence, *, now_ts: int) -> None:
    """Keep what a device has said."""
    tx.execute(
        SET_DEVICE,
        user_id=user_id,
        device_id=device.device_id,
        presence=device.presence,
        last_active_ts=device.last_active_ts,
        expires_ts=device.expires_ts,
        changes_ts=device.changes_ts(now_ts),
    )


def delete_device(tx: WriteTransaction, user_id: UserID, device_id: str) -> None:
    """The device is no longer there."""
    tx.execute(DELETE_DEVICE, user_id=user_id, device_id=device_id)


def due(tx: ReadTransaction, *, now_ts: int, most: int) -> list[UserID]:
    """Users of up to `most` devices that time alone has changed."""
    return sorted({row[0] for row in tx.all(DUE, now_ts=now_ts, most=most)})


def _state(row: Row) -> UserPresence:
    state, status_msg, last_active_ts, currently_active = row
    return UserPresence(state, status_msg, last_active_ts or None, currently_active=bool(currently_active))


def _presence_of(row: Row) -> PresenceOf:
    user_id, *state, name, avatar = row
    profile: dict[str, bytes] = {DISPLAY_NAME: name, AVATAR_URL: avatar}
    known = {field: decode(value) for field, value in profile.items() if value is not None}
    return PresenceOf(user_id, _state(tuple(state)), NameAndAvatar.of(known))
