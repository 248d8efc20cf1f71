"""Rooms, members, events and accounts as rows, for tests that need them and do not care how they came."""

from typing import Any

from sqlalchemy import LargeBinary, Table, Text, bindparam, update

from homeserver.core.identifiers import EventID, RoomID, UserID
from homeserver.database.statements import insert_into, statement
from homeserver.database.tables.accounts import users
from homeserver.database.tables.events import events
from homeserver.database.tables.rooms import memberships, rooms
from homeserver.database.transactions import WriteTransaction

LEAVE = statement(
    update(memberships)
    .where(memberships.c.room_nid == bindparam("the_room"), memberships.c.user_id == bindparam("the_user"))
    .values(membership="leave")
)
COUNT = statement(
    update(rooms)
    .where(rooms.c.room_nid == bindparam("the_room"))
    .values(joined_members=rooms.c.joined_members + bindparam("more"))
)


def add_row(tx: WriteTransaction, table: Table, **values: object) -> None:
    """A row with these values, and nothing (0, empty, NULL) in its other columns."""
    row: dict[str, Any] = {
        column.name: None
        if column.nullable
        else ""
        if isinstance(column.type, Text)
        else b""
        if isinstance(column.type, LargeBinary)
        else 0
        for column in table.columns
    }
    tx.execute(insert_into(table), **{**row, **values})


def add_user(tx: WriteTransaction, user_id: UserID, **flags: int) -> None:
    """An account."""
    add_row(tx, users, user_id=user_id, **flags)


def add_room(tx: WriteTransaction, room_id: RoomID, *members: UserID) -> int:
    """A room with these joined members; its number."""
    room_nid = tx.new_nid()
    add_row(tx, rooms, room_nid=room_nid, room_id=room_id, version="12", forward_extremities=b"[]")
    for member in members:
        add_member(tx, room_nid, member)
    return room_nid


def add_member(
    tx: WriteTransaction, room_nid: int, user_id: UserID, *, membership: str = "join", is_local: bool = True
) -> None:
    """A user with some membership in a room."""
    add_row(
        tx,
        memberships,
        room_nid=room_nid,
        user_id=user_id,
        membership=membership,
        event_nid=tx.new_nid(),
        is_local=int(is_local),
    )
    tx.execute(COUNT, the_room=room_nid, more=int(membership == "join"))


def leave(tx: WriteTransaction, room_nid: int, user_id: UserID) -> None:
    """The user is no longer joined."""
    tx.execute(LEAVE, the_room=room_nid, the_user=user_id)
    tx.execute(COUNT, the_room=room_nid, more=-1)


def add_event(
    tx: WriteTransaction,
    room_nid: int,
    event_id: EventID,
    *,
    position: int | None,
    thread_id: EventID | None = None,
) -> None:
    """An event that stands at `position` of the timeline, or (`None`) outside it."""
    add_row(
        tx,
        events,
        event_nid=tx.new_nid(),
        event_id=event_id,
        room_nid=room_nid,
        position=position,
        thread_id=thread_id,
    )
