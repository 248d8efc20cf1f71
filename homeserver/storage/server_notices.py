"""The room in which this server tells a user something: one for each."""

from sqlalchemy import bindparam, select

from homeserver.core.identifiers import RoomID, UserID
from homeserver.database.statements import statement, upsert
from homeserver.database.tables.server_notices import notice_rooms
from homeserver.database.transactions import ReadTransaction, WriteTransaction

ROOM = statement(select(notice_rooms.c.room_id).where(notice_rooms.c.user_id == bindparam("user_id")))
SET_ROOM = upsert(notice_rooms, key=["user_id"])


def room_of(tx: ReadTransaction, user_id: UserID) -> RoomID | None:
    """The user's room, `None` if there is none yet."""
    room_id: str | None = tx.value(ROOM, user_id=user_id)
    return None if room_id is None else RoomID(room_id)


def set_room(tx: WriteTransaction, user_id: UserID, room_id: RoomID) -> None:
    """From now on it is this room."""
    tx.execute(SET_ROOM, user_id=user_id, room_id=room_id)
