"""Rooms that are removed, and heard of again."""

from homeserver.core.identifiers import RoomID, UserID
from homeserver.database.transactions import Caches, ReadTransaction, WriteTransaction
from homeserver.storage import room_purges, rooms
from homeserver.storage.room_purges import RoomPurge
from tests.storage.store import Store

ROOM = RoomID("!room:b.example")


def hear_of(tx: WriteTransaction) -> int:
    room = rooms.know_of(
        tx, room_nid=tx.new_nid(), room_id=ROOM, version="11", creator=UserID("@bob:b.example"), created_ts=0
    )
    return room.room_nid


def number(tx: ReadTransaction) -> int | None:
    return rooms.nid_of(tx, ROOM)


def test_every_process_learns_the_new_number_of_a_room_that_came_back(store: Store) -> None:
    own, others = store.caches, Caches()
    first = store.write(hear_of)
    assert store.read(number) == first
    store.caches = others
    assert store.read(number) == first
    store.write(room_purges.close, RoomPurge(first, ROOM))
    assert store.read(number) is None
    second = store.write(hear_of)
    assert second != first
    assert store.read(number) == second
    store.caches = own
    assert store.read(number) == second
