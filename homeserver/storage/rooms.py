"""Rooms: version, current state, forward extremities, counts."""

from collections.abc import Collection, Sequence

import attrs
import msgspec
from sqlalchemy import BigInteger, bindparam, case, delete, func, select, update

from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.database.statements import Statement, in_list, insert_into, statement
from homeserver.database.tables.rooms import rooms
from homeserver.database.transactions import Question, ReadTransaction, Row, WriteTransaction


@attrs.frozen(slots=True)
class Room:
    """A room as its row stands; `extremities` are (event id, depth), newest last.

    `remote_members` are those of the `joined_members` that are users of other servers.
    """

    room_nid: int
    room_id: RoomID
    version: str
    state_root: int
    extremities: tuple[tuple[EventID, int], ...]
    last_position: int
    joined_members: int
    invited_members: int
    remote_members: int
    state_position: int
    is_public: bool = attrs.field(converter=bool)
    is_partial: bool = attrs.field(default=False, converter=bool)
    """The state lacks most members, until what is under way in `storage.partial_joins` is done."""

    @property
    def is_held(self) -> bool:
        """Whether this server has, or had, a part in the room; else it merely knows of it, as by an invitation."""
        return bool(self.extremities)


_COLUMNS = (
    rooms.c.room_nid,
    rooms.c.room_id,
    rooms.c.version,
    rooms.c.state_root,
    rooms.c.forward_extremities,
    rooms.c.last_position,
    rooms.c.joined_members,
    rooms.c.invited_members,
    rooms.c.remote_members,
    rooms.c.state_position,
    rooms.c.is_public,
    rooms.c.is_partial,
)
ROOM = statement(select(*_COLUMNS).where(rooms.c.room_id == bindparam("room_id")))
ROOM_LOCKED = statement(select(*_COLUMNS).where(rooms.c.room_id == bindparam("room_id")).with_for_update())
ROOMS_BY_ID = statement(select(*_COLUMNS).where(in_list(rooms.c.room_id, "room_ids")))
ROOMS_BY_NID = statement(select(*_COLUMNS).where(in_list(rooms.c.room_nid, "room_nids")))
NID = statement(select(rooms.c.room_nid).where(rooms.c.room_id == bindparam("room_id")))
IDS = statement(select(rooms.c.room_nid, rooms.c.room_id).where(in_list(rooms.c.room_nid, "room_nids")))
VERSION_AND_NID = statement(
    select(rooms.c.version, rooms.c.room_nid).where(rooms.c.room_id == bindparam("room_id"))
)
INSERT = insert_into(rooms)
INSERT_UNLESS_KNOWN = insert_into(rooms, ignore_conflict=True)


def _changing(*columns: str, **values: object) -> Statement:
    """Sets these columns of a room; those that tell of a place in the stream take `position` when it is published."""
    named: dict[str, object] = {
        name: bindparam("position" if name.endswith("_position") else name) for name in columns
    }
    return statement(
        update(rooms).where(rooms.c.room_nid == bindparam("the_room")).values({**named, **values})
    )


_AFTER_EVENT = (
    "state_root",
    "forward_extremities",
    "last_position",
    "joined_members",
    "invited_members",
    "remote_members",
)
_BUMPED = case(
    (bindparam("bumps") == 1, bindparam("position", type_=BigInteger)), else_=rooms.c.bump_position
)
"""The position, if `bumps` is 1."""
ADVANCE = _changing(*_AFTER_EVENT, bump_position=_BUMPED)
ADVANCE_STATE = _changing(*_AFTER_EVENT, "state_position", bump_position=_BUMPED)
ARRIVE = _changing(*_AFTER_EVENT, "state_position", "bump_position", "version", "creator", "is_partial")
"""As `ADVANCE_STATE`, for a room that this server enters: what it is, is known for certain only now."""
COMPLETE = _changing(*_AFTER_EVENT, "state_position", is_partial=0)
"""As `ADVANCE_STATE`, for a room whose state has lacked most members until now."""
SET_VERSION = statement(
    update(rooms).where(rooms.c.room_nid == bindparam("the_room")).values(version=bindparam("the_version"))
)
SET_EXTREMITIES = statement(
    update(rooms)
    .where(rooms.c.room_nid == bindparam("the_room"))
    .values(forward_extremities=bindparam("extremities"))
)
SET_PUBLIC = statement(
    update(rooms).where(rooms.c.room_id == bindparam("the_room")).values(is_public=bindparam("public"))
)
PUBLIC = statement(select(*_COLUMNS).where(rooms.c.is_public == 1))
COUNT = statement(select(func.count()).select_from(rooms))
DELETE = statement(delete(rooms).where(rooms.c.room_nid == bindparam("room_nid")))

_extremities = msgspec.json.Decoder(tuple[tuple[EventID, int], ...])


def of(tx: ReadTransaction, room_id: RoomID) -> Room | None:
    """The room, or `None` if this server does not hold it."""
    row = tx.one(ROOM, room_id=room_id)
    return None if row is None else _room(row)


def lock_question(room_id: RoomID) -> Question:
    """What `lock` asks."""
    return ROOM_LOCKED, {"room_id": room_id}


def lock(tx: WriteTransaction, room_id: RoomID) -> Room | None:
    """As `of`, and nobody else changes the room until the commit. Lock several rooms in the order of their ids."""
    query, params = lock_question(room_id)
    row = tx.one(query, **params)
    if row is None:
        return None
    tx.caches.likely_rooms.put(room_id, row[0])
    return _room(row)


def of_ids(tx: ReadTransaction, room_ids: Collection[str]) -> dict[RoomID, Room]:
    """Those of the rooms that this server holds or knows of."""
    return {row[1]: _room(row) for row in tx.all(ROOMS_BY_ID, room_ids=sorted(room_ids))}


def of_nids(tx: ReadTransaction, room_nids: Collection[int]) -> dict[int, Room]:
    """The rooms with these numbers."""
    return {row[0]: _room(row) for row in tx.all(ROOMS_BY_NID, room_nids=sorted(room_nids))}


def nid_of(tx: ReadTransaction, room_id: str) -> int | None:
    """The room's number, or `None` if this server does not hold it."""
    # Not remembered: a room that was removed, and then heard of again, has got another number, by any process.
    found: int | None = tx.value(NID, room_id=room_id)
    return found


def ids_of(tx: ReadTransaction, room_nids: Collection[int]) -> dict[int, RoomID]:
    """The room ids of these numbers."""
    return {row[0]: row[1] for row in tx.all(IDS, room_nids=sorted(room_nids))}


def public(tx: ReadTransaction) -> list[Room]:
    """The rooms listed in the public directory."""
    return [_room(row) for row in tx.all(PUBLIC)]


def add(
    tx: WriteTransaction, *, room_nid: int, room_id: RoomID, version: str, creator: UserID, created_ts: int
) -> Room:
    """A new room, empty until its create event is appended."""
    tx.execute(INSERT, **_empty(room_nid, room_id, version, creator, created_ts))
    return Room(room_nid, room_id, version, 0, (), 0, 0, 0, 0, 0, is_public=False)


def know_of(
    tx: WriteTransaction, *, room_nid: int, room_id: RoomID, version: str, creator: UserID, created_ts: int
) -> Room:
    """A room that this server is not in, locked; made without anything in it, unless it is there already."""
    tx.execute(INSERT_UNLESS_KNOWN, **_empty(room_nid, room_id, version, creator, created_ts))
    room = lock(tx, room_id)
    assert room is not None  # noqa: S101 - it was inserted, here or by another transaction
    return room


def _empty(
    room_nid: int, room_id: RoomID, version: str, creator: UserID, created_ts: int
) -> dict[str, object]:
    return {
        "room_nid": room_nid,
        "room_id": room_id,
        "version": version,
        "creator": creator,
        "created_ts": created_ts,
        "state_root": 0,
        "forward_extremities": b"[]",
        "last_position": 0,
        "bump_position": 0,
        "joined_members": 0,
        "invited_members": 0,
        "remote_members": 0,
        "state_position": 0,
        "is_public": 0,
        "is_partial": 0,
    }


def set_public(tx: WriteTransaction, room_id: RoomID, *, public: bool) -> bool:
    """List the room in the directory, or not; whether the room exists."""
    return tx.execute(SET_PUBLIC, the_room=room_id, public=int(public)) > 0


def set_version(tx: WriteTransaction, room_nid: int, version: str) -> None:
    """Note the version of a room that this server merely knows of, and so by hearsay."""
    tx.execute(SET_VERSION, the_room=room_nid, the_version=version)


def set_extremities(tx: WriteTransaction, room_nid: int, extremities: bytes) -> None:
    """Note the forward extremities (as `extremities_json` gives them), where nothing is published with them."""
    tx.execute(SET_EXTREMITIES, the_room=room_nid, extremities=extremities)


def extremities_json(extremities: Sequence[tuple[EventID, int]]) -> bytes:
    """The column's form of the forward extremities."""
    return msgspec.json.encode(extremities)


def _room(row: Row) -> Room:
    room_nid, room_id, version, state_root, extremities, *rest = row
    return Room(room_nid, room_id, version, state_root, _extremities.decode(extremities), *rest)
