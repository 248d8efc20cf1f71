"""Events that this server sends to other servers: the new ones of all rooms, and what one server has missed."""

from collections.abc import Collection, Sequence

import msgspec
from sqlalchemy import and_, bindparam, desc, func, or_, select

from homeserver.core.identifiers import EventID, ServerName, UserID
from homeserver.database.statements import in_list, statement
from homeserver.database.tables.events import events
from homeserver.database.tables.rooms import memberships, room_servers, rooms
from homeserver.database.transactions import ReadTransaction

_e = events.c
_m = memberships.c
_s = room_servers.c
_replaced = events.alias("replaced")
_with_replaced = events.outerjoin(_replaced, _replaced.c.event_nid == _e.replaces_nid)


class OutboundEvent(msgspec.Struct, frozen=True):
    """An event for other servers; `pdu` is its canonical JSON without `unsigned`."""

    event_nid: int
    position: int
    room_nid: int
    event_id: EventID
    sender: UserID
    state_key: str | None
    membership: str | None
    pdu: bytes


class Newcomer(msgspec.Struct, frozen=True):
    """A user of another server who joined the room at `since_position`."""

    room_nid: int
    user_id: UserID
    since_position: int


class MissedRoom(msgspec.Struct, frozen=True):
    """A room in which something may have been missed; the server has `joined_members` there."""

    room_nid: int
    joined_members: int


class Expulsion(msgspec.Struct, frozen=True):
    """An event that took a user out of a room, or, unless the user `was_joined`, an invitation or a knock back."""

    event_nid: int
    position: int
    room_nid: int
    user_id: UserID
    was_joined: bool


_COLUMNS = (
    _e.event_nid,
    _e.position,
    _e.room_nid,
    _e.event_id,
    _e.sender,
    _e.state_key,
    _e.membership,
    _e.pdu,
)
# As the partial index says it.
_outbound = _e.is_outbound == 1
_window = (_e.position > bindparam("after"), _e.position <= bindparam("upto"))
NEW = statement(select(*_COLUMNS).where(_outbound, *_window).order_by(_e.position).limit(bindparam("most")))
SERVERS = statement(
    select(_s.room_nid, _s.server_name, _s.joined_members).where(in_list(_s.room_nid, "room_nids"))
)
NEWCOMERS = statement(
    select(_m.room_nid, _m.user_id, _m.since_position)
    .select_from(events.join(memberships, and_(_m.room_nid == _e.room_nid, _m.user_id == _e.state_key)))
    .where(
        *_window,
        _e.membership == "join",
        _m.membership == "join",
        _m.is_local == 0,
        _m.since_position == _e.position,
    )
)
LOCAL_NEWCOMERS = statement(
    select(_m.room_nid, _m.user_id, _m.since_position)
    .select_from(
        events.join(memberships, and_(_m.room_nid == _e.room_nid, _m.user_id == _e.state_key)).join(
            rooms, rooms.c.room_nid == _m.room_nid
        )
    )
    .where(
        *_window,
        _e.membership == "join",
        _m.membership == "join",
        _m.is_local == 1,
        _m.since_position == _e.position,
        rooms.c.remote_members > 0,
    )
    .order_by(desc(_e.position))
    .limit(bindparam("most"))
)
NEWCOMERS_OF_ROOM = statement(
    select(_m.room_nid, _m.user_id, _m.since_position).where(
        _m.room_nid == bindparam("room_nid"),
        _m.membership == "join",
        _m.is_local == 0,
        _m.since_position > bindparam("after"),
    )
)
MISSED_ROOMS = statement(
    select(_s.room_nid, _s.joined_members)
    .select_from(room_servers.join(rooms, rooms.c.room_nid == _s.room_nid))
    .where(_s.server_name == bindparam("server_name"), rooms.c.last_position > bindparam("after"))
    .order_by(desc(rooms.c.last_position))
)
COUNT_MISSED = statement(
    select(func.count()).select_from(
        select(_e.event_nid)
        .select_from(room_servers.join(events, _e.room_nid == _s.room_nid))
        .where(_s.server_name == bindparam("server_name"), _outbound, _e.position > bindparam("after"))
        .limit(bindparam("most"))
        .subquery()
    )
)
NEWEST_OF_ROOM = statement(
    select(_e.event_nid)
    .where(_outbound, _e.room_nid == bindparam("room_nid"), *_window)
    .order_by(desc(_e.position))
    .limit(bindparam("most"))
)
BY_NIDS = statement(select(*_COLUMNS).where(in_list(_e.event_nid, "event_nids")).order_by(_e.position))
EXPULSIONS = statement(
    select(
        _e.position,
        _e.event_nid,
        _e.room_nid,
        _e.state_key,
        _e.membership,
        _replaced.c.membership.label("was"),
    )
    .select_from(_with_replaced)
    .where(_outbound, *_window)
    .order_by(_e.position)
    .limit(bindparam("most"))
)
CAME_IN = statement(
    select(func.max(_e.position))
    .select_from(_with_replaced)
    .where(
        _e.room_nid == bindparam("room_nid"),
        _e.state_key == bindparam("user_id"),
        _e.membership == "join",
        *_window,
        or_(_replaced.c.membership.is_(None), _replaced.c.membership != "join"),
    )
)


def count_missed(tx: ReadTransaction, server_name: ServerName, *, after: int, most: int) -> int:
    """How many events after a position there are in the rooms of the server; `most` at most."""
    count: int = tx.value(COUNT_MISSED, server_name=server_name, after=after, most=most)
    return count


def new(tx: ReadTransaction, *, after: int, upto: int, most: int) -> list[OutboundEvent]:
    """Up to `most` events with `after < position <= upto`, oldest first."""
    return [OutboundEvent(*row) for row in tx.all(NEW, after=after, upto=upto, most=most)]


def servers_of(tx: ReadTransaction, room_nids: Collection[int]) -> dict[int, dict[ServerName, int]]:
    """The servers in each of the rooms, this one included, with the number of their joined members."""
    found: dict[int, dict[ServerName, int]] = {}
    for room_nid, server_name, joined_members in tx.all(SERVERS, room_nids=sorted(room_nids)):
        found.setdefault(room_nid, {})[server_name] = joined_members
    return found


def newcomers(tx: ReadTransaction, *, after: int, upto: int) -> list[Newcomer]:
    """Users of other servers who joined any room with `after < position <= upto` and are still there."""
    return [Newcomer(*row) for row in tx.all(NEWCOMERS, after=after, upto=upto)]


def local_newcomers(tx: ReadTransaction, *, after: int, upto: int, most: int) -> list[Newcomer]:
    """Users of this server who joined rooms with users of others likewise; the latest `most`."""
    return [Newcomer(*row) for row in tx.all(LOCAL_NEWCOMERS, after=after, upto=upto, most=most)]


def newcomers_of(tx: ReadTransaction, room_nid: int, *, after: int) -> list[Newcomer]:
    """Users of other servers who joined the room after a position and are still there."""
    return [Newcomer(*row) for row in tx.all(NEWCOMERS_OF_ROOM, room_nid=room_nid, after=after)]


def missed_rooms(tx: ReadTransaction, server_name: ServerName, *, after: int) -> list[MissedRoom]:
    """The rooms of the server in which anything happened after a position, the latest first."""
    return [MissedRoom(*row) for row in tx.all(MISSED_ROOMS, server_name=server_name, after=after)]


def newest_of(tx: ReadTransaction, room_nid: int, *, after: int, upto: int, most: int) -> list[int]:
    """The numbers of the newest `most` events of the room with `after < position <= upto`, oldest first."""
    rows = tx.all(NEWEST_OF_ROOM, room_nid=room_nid, after=after, upto=upto, most=most)
    return [row[0] for row in reversed(rows)]


def of_nids(tx: ReadTransaction, event_nids: Sequence[int]) -> list[OutboundEvent]:
    """The events with these numbers, oldest first."""
    return [OutboundEvent(*row) for row in tx.all(BY_NIDS, event_nids=event_nids)]


def expulsions(
    tx: ReadTransaction, server_name: ServerName, *, after: int, upto: int, most: int
) -> tuple[list[Expulsion], int]:
    """The expulsions of users of the server, oldest first.

    Looks through `most` events; also gives the position up to which it came.
    """
    rows = tx.all(EXPULSIONS, after=after, upto=upto, most=most)
    suffix = f":{server_name}"
    found = [
        Expulsion(event_nid, position, room_nid, state_key, was == "join")
        for position, event_nid, room_nid, state_key, membership, was in rows
        if membership in ("leave", "ban") and state_key is not None and state_key.endswith(suffix)
    ]
    return found, rows[-1][0] if len(rows) == most else upto


def came_in(tx: ReadTransaction, expulsion: Expulsion, *, after: int) -> int:
    """Where the user whom it took out of the room had come in, if that was after a position; else that position."""
    found: int | None = tx.value(
        CAME_IN,
        room_nid=expulsion.room_nid,
        user_id=expulsion.user_id,
        after=after,
        upto=expulsion.position,
    )
    return after if found is None else found
