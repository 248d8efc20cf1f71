"""The user directory: what users are found by, and who may find whom."""

from collections.abc import Collection, Mapping, Sequence

import attrs
import msgspec
from sqlalchemy import (
    BigInteger,
    Select,
    and_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.sql import ColumnElement

from homeserver.core.identifiers import UserID
from homeserver.core.person_names import NameQuery, folded, terms_of
from homeserver.database.full_text import all_of, has_terms
from homeserver.database.statements import Statement, in_list, statement, upsert
from homeserver.database.tables.accounts import users
from homeserver.database.tables.events import events
from homeserver.database.tables.rooms import memberships, rooms
from homeserver.database.tables.user_directory import directory_rooms, directory_users
from homeserver.database.transactions import ReadTransaction, WriteTransaction

NAMES_OF_ONE = 50
"""Rooms, the latest first, whose names of a user are looked at."""

MOST_FELLOWS = 2_000
"""Up to so many members of somebody's rooms are looked at one by one."""

NAMES_SHOWN = 10
"""Rooms, the latest first, that give the name by which somebody finds a user."""


@attrs.frozen(slots=True)
class Entry:
    """What a user is found by."""

    user_id: UserID
    is_local: bool = attrs.field(converter=bool)
    folded_id: str
    folded_name: str | None
    terms: str

    @classmethod
    def of(cls, user_id: UserID, names: Sequence[str], *, is_local: bool) -> "Entry":
        """The entry of a user whom rooms, or the profile, give these names."""
        different = list(dict.fromkeys(name for name in names if name))
        name = folded(different[0]) if len(different) == 1 else None
        return cls(user_id, is_local, folded(user_id), name or None, " ".join(terms_of(user_id, different)))


class Found(msgspec.Struct, frozen=True):
    """A user who may be found: whether he is of this server, and shares a room that is not open with who asks."""

    is_local: bool
    shares_room: bool


_u = directory_users.c
_m = memberships.c
_COLUMNS = [_u[field.name] for field in attrs.fields(Entry)]
PUT = upsert(directory_users, key=["user_id"], keep=["user_nid", "is_open"])
REMOVE = statement(delete(directory_users).where(_u.user_id == bindparam("the_user")))
ENTRIES = statement(select(*_COLUMNS).where(in_list(_u.user_id, "user_ids")))
AFTER = statement(
    select(_u.user_nid, _u.user_id)
    .where(_u.user_nid > bindparam("after"))
    .order_by(_u.user_nid)
    .limit(bindparam("most"))
)
SET_USERS_OPEN = statement(
    update(directory_users)
    .where(in_list(_u.user_id, "user_ids"), _u.is_open != bindparam("new_is_open"))
    .values(is_open=bindparam("new_is_open"))
)
OPEN_ROOM = upsert(directory_rooms, key=["room_nid"])
CLOSE_ROOM = statement(delete(directory_rooms).where(directory_rooms.c.room_nid == bindparam("room_nid")))


def _shares_with_me(room_nid: ColumnElement[int]) -> ColumnElement[bool]:
    mine = memberships.alias("mine")
    return exists(
        select(mine.c.room_nid).where(
            mine.c.room_nid == room_nid, mine.c.user_id == bindparam("me"), mine.c.membership == "join"
        )
    )


def _is_open(room_nid: ColumnElement[int]) -> ColumnElement[bool]:
    return exists(select(directory_rooms.c.room_nid).where(directory_rooms.c.room_nid == room_nid))


def _is_joined_to(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """The user of the directory is joined to a room of which the condition is true."""
    return exists(
        select(_m.room_nid).where(_m.user_id == _u.user_id, _m.membership == "join", condition)
    ).correlate(directory_users)


_SHARES_ROOM = _is_joined_to(and_(_shares_with_me(_m.room_nid), ~_is_open(_m.room_nid)))
_IS_BARRED = exists(
    select(users.c.user_id).where(
        users.c.user_id == _u.user_id,
        or_(
            users.c.is_deactivated == 1,
            users.c.is_locked == 1,
            users.c.is_suspended == 1,
            users.c.is_erased == 1,
        ),
    )
).correlate(directory_users)

USERS_IN_OPEN_ROOMS = statement(
    select(_m.user_id)
    .where(in_list(_m.user_id, "user_ids"), _m.membership == "join", _is_open(_m.room_nid))
    .distinct()
)
VISIBLE = statement(
    select(_u.user_id, _u.is_local, case((_SHARES_ROOM, 1), else_=0)).where(
        in_list(_u.user_id, "user_ids"),
        or_(
            _u.is_local >= bindparam("least_local"),
            _is_joined_to(or_(_shares_with_me(_m.room_nid), _is_open(_m.room_nid))),
        ),
        ~_IS_BARRED,
    )
)


class _Ways(msgspec.Struct, frozen=True):
    """To users of whom a condition is true: in rooms that are open, in such as `me` shares, and of this server."""

    in_open_rooms: Statement
    sharing: Statement
    local: Statement

    @classmethod
    def to(cls, *conditions: ColumnElement[bool]) -> "_Ways":
        some = [
            statement(select(_u.user_id).where(*conditions, how).limit(bindparam("most")))
            for how in (_u.is_open == 1, _SHARES_ROOM, _u.is_local == 1)
        ]
        return cls(*some)


WITH_ID = _Ways.to(_u.folded_id >= bindparam("low"), _u.folded_id < bindparam("high"))
WITH_NAME = _Ways.to(_u.folded_name == bindparam("name"))
WITH_TERMS = _Ways.to(has_terms(directory_users, "directory_index", "wanted"))

_mine = memberships.alias("mine")
_MY_ROOMS = (
    _mine.c.user_id == bindparam("me"),
    _mine.c.membership == "join",
    ~_is_open(_mine.c.room_nid),
)
COUNT_FELLOWS = statement(
    select(cast(func.coalesce(func.sum(rooms.c.joined_members), 0), BigInteger))
    .select_from(_mine.join(rooms, rooms.c.room_nid == _mine.c.room_nid))
    .where(*_MY_ROOMS)
)
FELLOWS = statement(
    select(_m.user_id)
    .select_from(_mine.join(memberships, _m.room_nid == _mine.c.room_nid))
    .where(*_MY_ROOMS, _m.membership == "join")
    .distinct()
)


def _member_events(most: int, *conditions: ColumnElement[bool]) -> Select[tuple[str, bytes]]:
    """The latest events by which users are members of rooms."""
    numbered = (
        select(
            _m.user_id,
            _m.event_nid,
            func.row_number().over(partition_by=_m.user_id, order_by=_m.position.desc()).label("place"),
        )
        .where(in_list(_m.user_id, "user_ids"), _m.membership == "join", *conditions)
        .subquery()
    )
    return (
        select(numbered.c.user_id, events.c.pdu)
        .select_from(numbered.join(events, events.c.event_nid == numbered.c.event_nid))
        .where(numbered.c.place <= most)
        .order_by(numbered.c.user_id, numbered.c.place)
    )


ALL_MEMBER_EVENTS = statement(_member_events(NAMES_OF_ONE))
SEEN_MEMBER_EVENTS = statement(
    _member_events(NAMES_SHOWN, or_(_shares_with_me(_m.room_nid), _is_open(_m.room_nid)))
)


def entries(tx: ReadTransaction, user_ids: Collection[UserID]) -> dict[UserID, Entry]:
    """The entries that there are."""
    found = (Entry(*row) for row in tx.all(ENTRIES, user_ids=list(user_ids)))
    return {each.user_id: each for each in found}


def after(tx: ReadTransaction, user_nid: int, *, most: int) -> list[tuple[int, UserID]]:
    """Up to `most` users of the directory with greater numbers, each with the number."""
    return [(row[0], UserID(row[1])) for row in tx.all(AFTER, after=user_nid, most=most)]


def put(tx: WriteTransaction, entry: Entry) -> None:
    """Make or replace an entry."""
    row = attrs.asdict(entry) | {"is_local": int(entry.is_local)}
    tx.execute(PUT, user_nid=tx.new_nid(), is_open=0, **row)


def remove(tx: WriteTransaction, user_id: UserID) -> None:
    """Nobody finds the user any more."""
    tx.execute(REMOVE, the_user=user_id)


def in_open_rooms(tx: ReadTransaction, user_ids: Collection[UserID]) -> set[UserID]:
    """Those of the users who are joined to a room that is open to all."""
    return {UserID(row[0]) for row in tx.all(USERS_IN_OPEN_ROOMS, user_ids=list(user_ids))}


def set_users_open(tx: WriteTransaction, user_ids: Collection[UserID], *, is_open: bool) -> None:
    """Whether users are joined to any room that is open to all: where they are looked for, not who may find them."""
    tx.execute(SET_USERS_OPEN, user_ids=list(user_ids), new_is_open=int(is_open))


def set_room_open(tx: WriteTransaction, room_nid: int, *, is_open: bool) -> bool:
    """Whether everybody may know who is in the room. Gives whether that is new."""
    return tx.execute(OPEN_ROOM if is_open else CLOSE_ROOM, room_nid=room_nid) == 1


def find(
    tx: ReadTransaction, me: UserID, query: NameQuery, *, everybody: bool, most: int
) -> dict[UserID, Found]:
    """Users whom `me` may find and who answer the query, or nearly so.

    They share a room with `me`, or are in one that is open to all; with `everybody` those of this server are found
    in any case. There are up to `most` of each kind. Who is locked, suspended or gone is not among them.
    """
    low, high = query.user_ids
    ways: list[tuple[_Ways, dict[str, object]]] = [(WITH_ID, {"low": low, "high": high})]
    if query.name:
        ways.append((WITH_NAME, {"name": query.name}))
    if query.terms or query.begun:
        ways.append((WITH_TERMS, {"wanted": all_of(query.terms, tx.backend, begun=query.begun)}))
    has_many_fellows = tx.value(COUNT_FELLOWS, me=me) > MOST_FELLOWS
    found = set() if has_many_fellows else _fellows(tx, me, query)
    for way, params in ways:
        rows = tx.all(way.in_open_rooms, most=most, **params)
        if has_many_fellows:
            # Of many, some are soon met.
            rows += tx.all(way.sharing, me=me, most=most, **params)
        if everybody:
            rows += tx.all(way.local, most=most, **params)
        found |= {UserID(row[0]) for row in rows}
    visible = tx.all(VISIBLE, me=me, least_local=1 if everybody else 2, user_ids=sorted(found))
    return {UserID(user_id): Found(bool(local), bool(shares)) for user_id, local, shares in visible}


def _fellows(tx: ReadTransaction, me: UserID, query: NameQuery) -> set[UserID]:
    """The members of the rooms of `me` who answer the query."""
    # In two steps, for a database that does not know how few they are would rather look through all users.
    found = entries(tx, [UserID(row[0]) for row in tx.all(FELLOWS, me=me)]).values()
    return {
        each.user_id for each in found if query.fits(each.folded_id, each.folded_name, each.terms.split(" "))
    }


def member_events(tx: ReadTransaction, user_ids: Collection[UserID]) -> Mapping[UserID, list[bytes]]:
    """The latest membership events of users who are joined to any room, each as its PDU's JSON."""
    return _by_user(tx.all(ALL_MEMBER_EVENTS, user_ids=list(user_ids)))


def member_events_seen(
    tx: ReadTransaction, me: UserID, user_ids: Collection[UserID]
) -> Mapping[UserID, list[bytes]]:
    """As `member_events`, of rooms that `me` is in, or that are open to all."""
    return _by_user(tx.all(SEEN_MEMBER_EVENTS, me=me, user_ids=list(user_ids)))


def _by_user(rows: Sequence[tuple[str, bytes]]) -> dict[UserID, list[bytes]]:
    found: dict[UserID, list[bytes]] = {}
    for user_id, pdu in rows:
        found.setdefault(UserID(user_id), []).append(pdu)
    return found
