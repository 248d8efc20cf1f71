"""Who is in which room: the current membership of each user that a room's state names."""

from collections.abc import Collection, Container, Sequence
from typing import NamedTuple

import attrs
from sqlalchemy import and_, bindparam, case, delete, func, not_, or_, select, update
from sqlalchemy.dialects.sqlite import insert

from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.database.statements import in_list, statement
from homeserver.database.tables.accounts import users as users_table
from homeserver.database.tables.events import events
from homeserver.database.tables.rooms import memberships, rooms
from homeserver.database.transactions import ReadTransaction, WriteTransaction


@attrs.frozen(slots=True)
class Membership:
    """A user's membership in a room; `since_position` is where it became what it is."""

    room_nid: int
    user_id: UserID
    membership: str
    event_nid: int
    event_id: EventID
    sender: UserID
    position: int
    since_position: int
    was_joined: bool = attrs.field(converter=bool)
    forgotten: bool = attrs.field(converter=bool)


class RoomOfUser(NamedTuple):
    """A room as one of its users' rooms: the row as it is, since there may be thousands; flags are 0 or 1."""

    room_nid: int
    room_id: RoomID
    version: str
    membership: str
    event_nid: int
    sender: UserID
    position: int
    since_position: int
    was_joined: bool
    forgotten: bool
    last_position: int
    state_root: int
    joined_members: int
    invited_members: int
    state_position: int
    bump_position: int


_m = memberships.c
_COLUMNS = (
    _m.room_nid,
    _m.user_id,
    _m.membership,
    _m.event_nid,
    _m.event_id,
    _m.sender,
    _m.position,
    _m.since_position,
    _m.was_joined,
    _m.forgotten,
)
ONE = statement(
    select(*_COLUMNS).where(_m.room_nid == bindparam("room_nid"), _m.user_id == bindparam("user_id"))
)
IN_ROOM = statement(
    select(*_COLUMNS).where(_m.room_nid == bindparam("room_nid"), _m.membership == bindparam("membership"))
)
_ROOM_OF_USER = (
    _m.room_nid,
    rooms.c.room_id,
    rooms.c.version,
    _m.membership,
    _m.event_nid,
    _m.sender,
    _m.position,
    _m.since_position,
    _m.was_joined,
    _m.forgotten,
    rooms.c.last_position,
    rooms.c.state_root,
    rooms.c.joined_members,
    rooms.c.invited_members,
    rooms.c.state_position,
    rooms.c.bump_position,
)
_JOINED_TABLES = memberships.join(rooms, rooms.c.room_nid == _m.room_nid)
OF_USER = statement(
    select(*_ROOM_OF_USER).select_from(_JOINED_TABLES).where(_m.user_id == bindparam("user_id"))
)
KNOWN = statement(select(_m.room_nid).where(_m.user_id == bindparam("user_id")).limit(1))
OF_USER_IN_ROOM = statement(
    select(*_ROOM_OF_USER)
    .select_from(_JOINED_TABLES)
    .where(_m.user_id == bindparam("user_id"), rooms.c.room_id == bindparam("room_id"))
)
OF_USER_IN_ROOMS = statement(
    select(rooms.c.room_id, _m.membership)
    .select_from(_JOINED_TABLES)
    .where(_m.user_id == bindparam("user_id"), in_list(rooms.c.room_id, "room_ids"))
)
_other = memberships.alias("other")
_BOTH = (
    _m.user_id == bindparam("user_id"),
    _m.membership == "join",
    _other.c.user_id == bindparam("other_id"),
    _other.c.membership == "join",
)
_SHARED = memberships.join(_other, _other.c.room_nid == _m.room_nid)
SHARED = statement(
    select(_m.room_nid, rooms.c.room_id)
    .select_from(_SHARED.join(rooms, rooms.c.room_nid == _m.room_nid))
    .where(*_BOTH, _m.room_nid > bindparam("after"))
    .order_by(_m.room_nid)
    .limit(bindparam("most"))
)
COUNT_SHARED = statement(select(func.count()).select_from(_SHARED).where(*_BOTH))
JOINED_ROOM_IDS = statement(
    select(rooms.c.room_id)
    .select_from(_JOINED_TABLES)
    .where(_m.user_id == bindparam("user_id"), _m.membership == "join")
)
USERS = statement(
    select(_m.user_id)
    .where(_m.room_nid == bindparam("room_nid"), _m.membership == bindparam("membership"))
    .order_by(_m.position, _m.user_id)
    .limit(bindparam("most"))
)
MEMBER_EVENTS = statement(
    select(_m.user_id, events.c.pdu)
    .select_from(memberships.join(events, events.c.event_nid == _m.event_nid))
    .where(_m.room_nid == bindparam("room_nid"), _m.membership == bindparam("membership"))
    .order_by(_m.user_id)
)
LOCAL_AMONG = statement(
    select(_m.user_id).where(
        _m.room_nid == bindparam("room_nid"),
        _m.membership == "join",
        _m.is_local == 1,
        in_list(_m.user_id, "user_ids"),
    )
)
SOME_LOCAL = statement(
    select(_m.user_id)
    .where(_m.room_nid == bindparam("room_nid"), _m.membership == "join", _m.is_local == 1)
    .order_by(_m.position, _m.user_id)
    .limit(bindparam("most"))
)
LOCAL_OUTSIDERS = statement(
    select(*_COLUMNS).where(
        _m.room_nid == bindparam("room_nid"),
        _m.is_local == 1,
        or_(_m.membership == "invite", _m.membership == "knock"),
    )
)
LOCAL_AT = statement(
    select(_m.user_id).where(
        _m.room_nid == bindparam("room_nid"), _m.position == bindparam("position"), _m.is_local == 1
    )
)
JOINED_GUESTS = statement(
    select(_m.user_id)
    .select_from(memberships.join(users_table, users_table.c.user_id == _m.user_id))
    .where(_m.room_nid == bindparam("room_nid"), _m.membership == "join", users_table.c.is_guest == 1)
    .order_by(_m.user_id)
    .limit(bindparam("most"))
)
ROOMS_WITH_GUESTS = statement(
    select(rooms.c.room_id)
    .select_from(_JOINED_TABLES.join(users_table, users_table.c.user_id == _m.user_id))
    .where(users_table.c.is_guest == 1, _m.membership == "join")
    .distinct()
)
_own_memberships = (
    events.c.room_nid == bindparam("room_nid"),
    events.c.state_key == bindparam("user_id"),
    events.c.membership.is_not(None),
    events.c.status == 0,
)
LAST_JOIN = statement(
    select(func.max(events.c.position)).where(*_own_memberships, events.c.membership == "join")
)
FIRST_MEMBERSHIP = statement(
    select(func.min(events.c.position)).where(*_own_memberships, events.c.position > bindparam("after"))
)
_new = insert(memberships)
SET = statement(
    _new.on_conflict_do_update(
        index_elements=["room_nid", "user_id"],
        set_={
            "membership": _new.excluded.membership,
            "event_nid": _new.excluded.event_nid,
            "event_id": _new.excluded.event_id,
            "sender": _new.excluded.sender,
            "position": _new.excluded.position,
            "since_position": case(
                (_m.membership == _new.excluded.membership, _m.since_position),
                else_=_new.excluded.since_position,
            ),
            "was_joined": case((_m.was_joined == 1, 1), else_=_new.excluded.was_joined),
            # What is done to somebody who has forgotten the room does not bring it back.
            "forgotten": case(
                (or_(*(_new.excluded.membership == active for active in ("join", "invite", "knock"))), 0),
                else_=_m.forgotten,
            ),
        },
    ).values(
        {
            column.name: bindparam("position" if column.name == "since_position" else column.name)
            for column in memberships.columns
        }
    )
)
"""Takes `position` when it is published, like the membership event that it follows."""

ADD = statement(
    insert(memberships)
    .on_conflict_do_nothing()
    .values(
        {
            column.name: bindparam("position" if column.name == "since_position" else column.name)
            for column in memberships.columns
        }
    )
)
DATE_BACK = statement(
    update(memberships)
    .where(_m.room_nid == bindparam("the_room"), _m.user_id == bindparam("the_user"))
    .values(since_position=bindparam("the_position"))
)

FORGET = statement(
    update(memberships)
    .where(_m.room_nid == bindparam("the_room"), _m.user_id == bindparam("the_user"))
    .values(forgotten=1)
)
REMEMBERED_LOCALLY = statement(
    select(_m.user_id)
    .where(
        _m.room_nid == bindparam("room_nid"),
        _m.is_local == 1,
        _m.forgotten == 0,
        # Who was banned without ever having been there has nothing to remember.
        not_(and_(_m.membership == "ban", _m.was_joined == 0)),
    )
    .limit(1)
)
REMOVE_REMOTE = statement(delete(memberships).where(_m.room_nid == bindparam("room_nid"), _m.is_local == 0))
DELETE_ROOM = statement(delete(memberships).where(_m.room_nid == bindparam("room_nid")))


def of(tx: ReadTransaction, room_nid: int, user_id: str) -> Membership | None:
    """The user's membership, `None` if the room's state has never named the user."""
    row = tx.one(ONE, room_nid=room_nid, user_id=user_id)
    return None if row is None else Membership(*row)


def in_room(tx: ReadTransaction, room_nid: int, membership: str) -> list[Membership]:
    """All users with this membership."""
    return [Membership(*row) for row in tx.all(IN_ROOM, room_nid=room_nid, membership=membership)]


def rooms_of(tx: ReadTransaction, user_id: UserID) -> list[RoomOfUser]:
    """All rooms whose state names the user, whatever the membership."""
    return [*map(RoomOfUser._make, tx.all(OF_USER, user_id=user_id))]


def room_of(tx: ReadTransaction, user_id: UserID, room_id: RoomID) -> RoomOfUser | None:
    """The room as one of the user's rooms; `None` if its state has never named the user, or there is no such room."""
    row = tx.one(OF_USER_IN_ROOM, user_id=user_id, room_id=room_id)
    return None if row is None else RoomOfUser(*row)


def is_known(tx: ReadTransaction, user_id: UserID) -> bool:
    """Whether the state of any room names the user."""
    return tx.one(KNOWN, user_id=user_id) is not None


def of_user_in(tx: ReadTransaction, user_id: UserID, room_ids: Collection[str]) -> dict[RoomID, str]:
    """The user's membership in those of the rooms whose state names the user."""
    rows = tx.all(OF_USER_IN_ROOMS, user_id=user_id, room_ids=sorted(room_ids))
    return {row[0]: row[1] for row in rows}


def shared(
    tx: ReadTransaction, user_id: UserID, other_id: UserID, *, after: int, most: int
) -> list[tuple[int, RoomID]]:
    """Up to `most` rooms with greater numbers than `after` that both users are joined to, by their numbers."""
    rows = tx.all(SHARED, user_id=user_id, other_id=other_id, after=after, most=most)
    return [(row[0], row[1]) for row in rows]


def count_shared(tx: ReadTransaction, user_id: UserID, other_id: UserID) -> int:
    """How many rooms both users are joined to."""
    count: int = tx.value(COUNT_SHARED, user_id=user_id, other_id=other_id)
    return count


def joined_room_ids(tx: ReadTransaction, user_id: UserID) -> list[RoomID]:
    """The rooms that the user is joined to."""
    return [row[0] for row in tx.all(JOINED_ROOM_IDS, user_id=user_id)]


def users(tx: ReadTransaction, room_nid: int, membership: str, *, most: int) -> list[UserID]:
    """Up to `most` users with this membership, longest-standing first."""
    return [row[0] for row in tx.all(USERS, room_nid=room_nid, membership=membership, most=most)]


def member_events(tx: ReadTransaction, room_nid: int, membership: str) -> list[tuple[UserID, bytes]]:
    """All users with this membership, each with the JSON of the membership event's PDU."""
    return [(row[0], row[1]) for row in tx.all(MEMBER_EVENTS, room_nid=room_nid, membership=membership)]


def local_among(tx: ReadTransaction, room_nid: int, user_ids: Collection[str]) -> list[UserID]:
    """Those of `user_ids` that are joined users of this server."""
    return [row[0] for row in tx.all(LOCAL_AMONG, room_nid=room_nid, user_ids=sorted(user_ids))]


def some_local(tx: ReadTransaction, room_nid: int, *, most: int) -> list[UserID]:
    """Up to `most` joined users of this server, longest-standing first."""
    return [row[0] for row in tx.all(SOME_LOCAL, room_nid=room_nid, most=most)]


def local_outsiders(tx: ReadTransaction, room_nid: int, *, besides: Container[str]) -> list[Membership]:
    """The users of this server, other than `besides`, who are invited or have knocked. Looks through all members."""
    found = (Membership(*row) for row in tx.all(LOCAL_OUTSIDERS, room_nid=room_nid))
    return [each for each in found if each.user_id not in besides]


def local_changed_at(tx: ReadTransaction, room_nid: int, position: int) -> list[UserID]:
    """The users of this server whose latest membership is of this position. Looks through the room's members."""
    return [row[0] for row in tx.all(LOCAL_AT, room_nid=room_nid, position=position)]


def joined_guests(tx: ReadTransaction, room_nid: int, *, most: int) -> list[UserID]:
    """Up to `most` of the guests that are joined to the room."""
    return [row[0] for row in tx.all(JOINED_GUESTS, room_nid=room_nid, most=most)]


def rooms_with_guests(tx: ReadTransaction) -> list[RoomID]:
    """The rooms that any guest is joined to. Looks through all accounts."""
    return [row[0] for row in tx.all(ROOMS_WITH_GUESTS)]


def left_at(tx: ReadTransaction, room_nid: int, user_id: UserID) -> int | None:
    """Where a user who had joined last stopped being so; what came after is not theirs to see.

    `None` if the user is joined, or the join is in no timeline that this server holds.
    """
    joined: int | None = tx.value(LAST_JOIN, room_nid=room_nid, user_id=user_id)
    if joined is None:
        return None
    left: int | None = tx.value(FIRST_MEMBERSHIP, room_nid=room_nid, user_id=user_id, after=joined)
    return left


def put_many(tx: WriteTransaction, rows: Sequence[dict[str, object]]) -> None:
    """Set memberships at positions that have been given out already: parameters of `SET`, and `position`."""
    tx.execute_many(SET, rows)


def add_many(tx: WriteTransaction, rows: Sequence[dict[str, object]]) -> None:
    """As `put_many`, for users whom no row names yet; the others stay as they are."""
    tx.execute_many(ADD, rows)


def date_back(tx: WriteTransaction, room_nid: int, user_id: UserID, position: int) -> None:
    """The user's membership has been what it is from this position on."""
    tx.execute(DATE_BACK, the_room=room_nid, the_user=user_id, the_position=position)


def remove_remote(tx: WriteTransaction, room_nid: int) -> None:
    """Forget which users of other servers are in a room that this server is no longer in."""
    tx.execute(REMOVE_REMOTE, room_nid=room_nid)


def forget(tx: WriteTransaction, room_nid: int, user_id: UserID) -> None:
    """The user no longer wants to see the room."""
    tx.execute(FORGET, the_room=room_nid, the_user=user_id)


def is_remembered(tx: ReadTransaction, room_nid: int) -> bool:
    """Whether any user of this server has not forgotten the room."""
    return tx.one(REMEMBERED_LOCALLY, room_nid=room_nid) is not None
