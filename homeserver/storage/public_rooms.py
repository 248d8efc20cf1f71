"""The rooms of the public directory, largest first."""

import msgspec
from sqlalchemy import and_, bindparam, desc, func, or_, select

from homeserver.core.identifiers import RoomID
from homeserver.database.statements import statement
from homeserver.database.tables.rooms import rooms
from homeserver.database.transactions import ReadTransaction


class PublicRoom(msgspec.Struct, frozen=True):
    """A room of the directory."""

    room_nid: int
    room_id: RoomID
    version: str
    state_root: int
    joined_members: int


_r = rooms.c
_LISTED = and_(_r.is_public == 1, _r.joined_members > 0)
_COLUMNS = (_r.room_nid, _r.room_id, _r.version, _r.state_root, _r.joined_members)
COUNT = statement(select(func.count()).select_from(rooms).where(_LISTED))
AFTER = statement(
    select(*_COLUMNS)
    .where(
        _LISTED,
        or_(
            _r.joined_members < bindparam("members"),
            and_(_r.joined_members == bindparam("members"), _r.room_nid < bindparam("nid")),
        ),
    )
    .order_by(desc(_r.joined_members), desc(_r.room_nid))
    .limit(bindparam("most"))
)
BEFORE = statement(
    select(*_COLUMNS)
    .where(
        _LISTED,
        or_(
            _r.joined_members > bindparam("members"),
            and_(_r.joined_members == bindparam("members"), _r.room_nid > bindparam("nid")),
        ),
    )
    .order_by(_r.joined_members, _r.room_nid)
    .limit(bindparam("most"))
)


def count(tx: ReadTransaction) -> int:
    """How many rooms the directory has."""
    return int(tx.value(COUNT))


def after(tx: ReadTransaction, members: int, nid: int, *, most: int) -> list[PublicRoom]:
    """Up to `most` rooms that follow on one with so many members and this number, nearest first."""
    return [PublicRoom(*row) for row in tx.all(AFTER, members=members, nid=nid, most=most)]


def before(tx: ReadTransaction, members: int, nid: int, *, most: int) -> list[PublicRoom]:
    """As `after`, for those that precede it, nearest first."""
    return [PublicRoom(*row) for row in tx.all(BEFORE, members=members, nid=nid, most=most)]
