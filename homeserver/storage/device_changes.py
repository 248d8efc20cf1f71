"""Changes of devices and cross-signing keys of users here, and which other servers have been told of them.

Of each device the last change alone is kept, whatever the number of servers that are to be told: what a server lacks
follows from up to where it has been told of a user, or, if it has not been, from how far the outbox is with it.
"""

from collections.abc import Collection, Mapping
from typing import Final

import attrs
import msgspec
from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    literal_column,
    select,
    tuple_,
    update,
)

from homeserver.core.identifiers import DeviceID, ServerName, UserID
from homeserver.core.topics import OUTBOX
from homeserver.database.kinds import Kind
from homeserver.database.statements import Statement, in_list, statement, upsert
from homeserver.database.tables.federation import destinations, outbox_shards
from homeserver.database.tables.remote_devices import (
    device_change_limits,
    device_changes,
    device_list_destinations,
)
from homeserver.database.tables.rooms import memberships, room_servers
from homeserver.database.transactions import ReadTransaction, WriteTransaction

USER_KEYS: Final = DeviceID("")
"""Stands for the user's cross-signing keys, where else there is a device."""

MOST_DELETED: Final = 100
"""Deleted devices of one user that are remembered. There may be half as many soon after."""


@attrs.frozen(slots=True)
class DeviceChange:
    """The last change of a device, or of the user's cross-signing keys."""

    user_id: UserID
    device_id: DeviceID
    position: int
    is_deleted: bool = attrs.field(converter=bool)


class Told(msgspec.Struct, frozen=True):
    """A server has been told everything of a user up to `position`, last in an update with `stream_id`, if any."""

    position: int
    stream_id: int


_c = device_changes.c
_t = device_list_destinations.c
_m = memberships.c
_s = room_servers.c
_l = device_change_limits.c
_COLUMNS = (_c.user_id, _c.device_id, _c.position, _c.is_deleted)
_told_before = and_(_t.server_name == bindparam("server_name"), _t.user_id == _c.user_id)


def _shared(*more: object) -> "Select[tuple[int]]":
    """A room with the user that the server is in, too."""
    return select(literal_column("1")).where(
        _m.user_id == _c.user_id,
        _m.membership == "join",
        _s.room_nid == _m.room_nid,
        _s.server_name == bindparam("server_name"),
        *more,  # type: ignore[arg-type]  # further conditions
    )


PUT = upsert(device_changes, key=["user_id", "device_id"])
FIRST_KEPT = statement(
    select(_c.position)
    .where(_c.user_id == bindparam("user_id"), _c.is_deleted == 1)
    .order_by(_c.position.desc())
    .offset(bindparam("kept"))
    .limit(1)
)
FORGET = statement(
    delete(device_changes).where(
        _c.user_id == bindparam("user_id"), _c.is_deleted == 1, _c.position <= bindparam("upto")
    )
)
COUNT_DELETED = statement(select(func.count()).where(_c.user_id == bindparam("user_id"), _c.is_deleted == 1))
SET_LIMIT = upsert(device_change_limits, key=["user_id"])
BREAK_CHAINS = statement(
    update(device_list_destinations)
    .where(_t.user_id == bindparam("the_user"), _t.stream_id < bindparam("upto"))
    .values(stream_id=bindparam("upto"))
)
USERS_BETWEEN = statement(
    select(_c.user_id).where(_c.position > bindparam("after"), _c.position <= bindparam("upto")).distinct()
)
TOLD_UPTO = statement(
    select(
        func.coalesce(
            select(destinations.c.behind_from)
            .where(destinations.c.server_name == bindparam("server_name"))
            .scalar_subquery(),
            select(outbox_shards.c.position)
            .where(outbox_shards.c.shard == bindparam("shard"))
            .scalar_subquery(),
            0,
        )
    )
)
CHANGED = statement(
    select(_c.user_id)
    .where(
        _c.position > bindparam("after"),
        ~exists().where(_told_before, _t.position >= _c.position),
        exists(_shared()),
    )
    .order_by(_c.position)
    .limit(bindparam("most"))
)


def _met(*more: ColumnElement[bool]) -> Statement:
    """Users in rooms with the server, of whom it has not been told everything."""
    return statement(
        select(_m.user_id)
        .select_from(room_servers.join(memberships, _m.room_nid == _s.room_nid))
        .where(
            _s.server_name == bindparam("server_name"),
            _m.is_local == literal_column("1"),
            _m.membership == literal_column("'join'"),
            *more,
            exists().where(
                _c.user_id == _m.user_id,
                ~exists().where(_told_before, _t.position >= _c.position),
            ),
        )
        .distinct()
        .order_by(_m.user_id)
        .limit(bindparam("most"))
    )


NEWCOMERS = _met(_m.since_position > bindparam("after"))
MET_IN = _met(in_list(_m.room_nid, "room_nids"))
OF_USERS = statement(select(*_COLUMNS).where(in_list(_c.user_id, "user_ids")).order_by(_c.position))
AT = statement(select(*_COLUMNS).where(in_list(_c.position, "positions")).order_by(_c.position))
TOLD = statement(
    select(_t.user_id, _t.position, _t.stream_id).where(
        _t.server_name == bindparam("server_name"), in_list(_t.user_id, "user_ids")
    )
)
LIMITS = statement(select(_l.user_id, _l.forgotten_position).where(in_list(_l.user_id, "user_ids")))
SET_TOLD = upsert(device_list_destinations, key=["server_name", "user_id"])
PAGE = statement(
    select(
        _t.server_name,
        _t.user_id,
        exists(
            select(literal_column("1")).where(
                _m.user_id == _t.user_id,
                _m.membership == "join",
                _s.room_nid == _m.room_nid,
                _s.server_name == _t.server_name,
            )
        ),
    )
    .where(tuple_(_t.server_name, _t.user_id) > tuple_(bindparam("after_server"), bindparam("after_user")))
    .order_by(_t.server_name, _t.user_id)
    .limit(bindparam("most"))
)
DELETE_TOLD = statement(
    delete(device_list_destinations).where(
        _t.server_name == bindparam("server_name"), _t.user_id == bindparam("user_id")
    )
)


def put(
    tx: WriteTransaction, user_id: UserID, device_ids: Collection[DeviceID], *, is_deleted: bool = False
) -> None:
    """These devices of a user here have changed, or, with `USER_KEYS`, the cross-signing keys.

    Each change has a position of its own, since that is the `stream_id` of one update.
    """
    for device_id in sorted(device_ids):
        tx.publish(
            PUT,
            kind=Kind.DEVICE_LISTS,
            to=[OUTBOX],
            user_id=user_id,
            device_id=device_id,
            is_deleted=int(is_deleted),
        )
    if is_deleted:
        _forget_some(tx, user_id)


def _forget_some(tx: WriteTransaction, user_id: UserID) -> None:
    """Of many deleted devices forget the oldest; who has not been told of them has to ask for the whole list."""
    if tx.value(COUNT_DELETED, user_id=user_id) <= MOST_DELETED:
        return
    upto: int | None = tx.value(FIRST_KEPT, user_id=user_id, kept=MOST_DELETED // 2)
    if upto is not None:
        tx.execute(FORGET, user_id=user_id, upto=upto)
        tx.execute(SET_LIMIT, user_id=user_id, forgotten_position=upto)
        tx.execute(BREAK_CHAINS, the_user=user_id, upto=upto)


def users_between(tx: ReadTransaction, *, after: int, upto: int) -> set[UserID]:
    """The users of whom something changed last with `after < position <= upto`."""
    return {row[0] for row in tx.all(USERS_BETWEEN, after=after, upto=upto)}


def told_upto(tx: ReadTransaction, server_name: ServerName, shard: int) -> int:
    """The server has been told everything up to there that it was to be told by then."""
    position: int = tx.value(TOLD_UPTO, server_name=server_name, shard=shard)
    return position


def changed_users(tx: ReadTransaction, server_name: ServerName, *, after: int, most: int) -> set[UserID]:
    """Users who share a room with the server and changed after a position, which it has not been told.

    Those of the `most` first changes.
    """
    return {row[0] for row in tx.all(CHANGED, server_name=server_name, after=after, most=most)}


def newcomers(tx: ReadTransaction, server_name: ServerName, *, after: int, most: int) -> set[UserID]:
    """Up to `most` users who came into a room with the server after a position, and have ever changed.

    Those of whom it has been told everything are left out.
    """
    return {row[0] for row in tx.all(NEWCOMERS, server_name=server_name, after=after, most=most)}


def met_in(
    tx: ReadTransaction, server_name: ServerName, room_nids: Collection[int], *, most: int
) -> set[UserID]:
    """As `newcomers`, of who is in any of these rooms with the server."""
    rows = tx.all(MET_IN, server_name=server_name, room_nids=sorted(room_nids), most=most)
    return {row[0] for row in rows}


def of_users(tx: ReadTransaction, user_ids: Collection[UserID]) -> dict[UserID, list[DeviceChange]]:
    """All that is kept of these users, oldest first."""
    found: dict[UserID, list[DeviceChange]] = {}
    for row in tx.all(OF_USERS, user_ids=sorted(user_ids)):
        found.setdefault(row[0], []).append(DeviceChange(*row))
    return found


def at(tx: ReadTransaction, positions: Collection[int]) -> list[DeviceChange]:
    """The changes with these positions, oldest first; those that have been overtaken by later ones are left out."""
    return [DeviceChange(*row) for row in tx.all(AT, positions=sorted(positions))]


def told(tx: ReadTransaction, server_name: ServerName, user_ids: Collection[UserID]) -> Mapping[UserID, Told]:
    """What the server has been told of these users; who is missing, of those nothing."""
    rows = tx.all(TOLD, server_name=server_name, user_ids=sorted(user_ids))
    return {user_id: Told(position, stream_id) for user_id, position, stream_id in rows}


def forgotten(tx: ReadTransaction, user_ids: Collection[UserID]) -> Mapping[UserID, int]:
    """Up to which position deleted devices of these users are forgotten; who is missing, of those none is."""
    return {row[0]: row[1] for row in tx.all(LIMITS, user_ids=sorted(user_ids))}


def set_told(tx: WriteTransaction, server_name: ServerName, user_id: UserID, told: Told) -> None:
    """The server has been told."""
    tx.execute(
        SET_TOLD,
        server_name=server_name,
        user_id=user_id,
        position=told.position,
        stream_id=told.stream_id,
    )


def prune_told(
    tx: WriteTransaction, after: tuple[ServerName, UserID], *, most: int
) -> tuple[ServerName, UserID] | None:
    """Forget what servers have been told of users with whom they share no room any more.

    Looks at the next `most` after a server and a user; gives the last one of them, None at the end.
    """
    rows = tx.all(PAGE, after_server=after[0], after_user=after[1], most=most)
    for server_name, user_id, is_shared in rows:
        if not is_shared:
            tx.execute(DELETE_TOLD, server_name=server_name, user_id=user_id)
    return (rows[-1][0], rows[-1][1]) if len(rows) == most else None
