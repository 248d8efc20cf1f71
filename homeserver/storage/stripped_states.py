"""What came with an invitation to, or a knock on, a room that this server is not in."""

from sqlalchemy import bindparam, delete, select

from homeserver.core.identifiers import UserID
from homeserver.database.statements import statement, upsert
from homeserver.database.tables.rooms import stripped_states
from homeserver.database.transactions import ReadTransaction, WriteTransaction

_s = stripped_states.c
SET = upsert(stripped_states, key=["room_nid", "user_id"])
ONE = statement(
    select(_s.events).where(_s.room_nid == bindparam("room_nid"), _s.user_id == bindparam("user_id"))
)
REMOVE = statement(
    delete(stripped_states).where(_s.room_nid == bindparam("room_nid"), _s.user_id == bindparam("user_id"))
)
REMOVE_ALL = statement(delete(stripped_states).where(_s.room_nid == bindparam("room_nid")))


def put(tx: WriteTransaction, room_nid: int, user_id: UserID, events: bytes) -> None:
    """Keep what the user was told of the room: a JSON array of stripped state events."""
    tx.execute(SET, room_nid=room_nid, user_id=user_id, events=events)


def of(tx: ReadTransaction, room_nid: int, user_id: UserID) -> bytes | None:
    """What the user was told of the room, a JSON array of stripped state events; `None` for nothing."""
    found: bytes | None = tx.value(ONE, room_nid=room_nid, user_id=user_id)
    return found


def remove(tx: WriteTransaction, room_nid: int, user_id: UserID) -> None:
    """The invitation or the knock is a thing of the past."""
    tx.execute(REMOVE, room_nid=room_nid, user_id=user_id)


def remove_all(tx: WriteTransaction, room_nid: int) -> None:
    """This server is in the room now, and knows better."""
    tx.execute(REMOVE_ALL, room_nid=room_nid)
