"""Room aliases of this server."""

import msgspec
from sqlalchemy import bindparam, delete, select, update

from homeserver.core.identifiers import RoomAlias, RoomID, UserID
from homeserver.database.statements import insert_into, statement
from homeserver.database.tables.rooms import aliases
from homeserver.database.transactions import ReadTransaction, WriteTransaction


class Alias(msgspec.Struct, frozen=True):
    """An alias, the room it leads to, and who made it."""

    alias: RoomAlias
    room_id: RoomID
    creator: UserID


_a = aliases.c
ONE = statement(select(_a.alias, _a.room_id, _a.creator).where(_a.alias == bindparam("alias")))
OF_ROOM = statement(
    select(_a.alias).where(_a.room_id == bindparam("room_id")).order_by(_a.created_ts, _a.alias)
)
INSERT = insert_into(aliases, ignore_conflict=True)
MOVE = statement(
    update(aliases).where(_a.room_id == bindparam("the_old_room")).values(room_id=bindparam("the_room"))
)
DELETE = statement(delete(aliases).where(_a.alias == bindparam("alias")))


def of(tx: ReadTransaction, alias: RoomAlias) -> Alias | None:
    """Where the alias leads to."""
    row = tx.one(ONE, alias=alias)
    return None if row is None else Alias(*row)


def of_room(tx: ReadTransaction, room_id: RoomID) -> list[RoomAlias]:
    """The aliases that lead to the room, oldest first."""
    return [row[0] for row in tx.all(OF_ROOM, room_id=room_id)]


def add(tx: WriteTransaction, alias: RoomAlias, room_id: RoomID, creator: UserID, *, now_ts: int) -> bool:
    """Make the alias; `False` if it leads somewhere already."""
    return tx.execute(INSERT, alias=alias, room_id=room_id, creator=creator, created_ts=now_ts) > 0


def move(tx: WriteTransaction, old_room_id: RoomID, room_id: RoomID) -> None:
    """Have all aliases of a room lead to another."""
    tx.execute(MOVE, the_old_room=old_room_id, the_room=room_id)


def remove(tx: WriteTransaction, alias: RoomAlias) -> bool:
    """Remove the alias; whether it was there."""
    return tx.execute(DELETE, alias=alias) > 0
