from homeserver.core.identifiers import RoomID, UserID
from homeserver.database.kinds import Kind
from homeserver.storage import typing
from tests.population import add_room, leave
from tests.storage.store import Store

ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")
ROOM = RoomID("!room:test")
OTHER = RoomID("!other:test")
NOW = 1_000_000


def start(store: Store, room_nid: int, user_id: UserID, *, at: int = NOW, lasts: int = 30_000) -> bool:
    return store.write(typing.start, room_nid, ROOM, user_id, now_ts=at, expires_ts=at + lasts)


def now(store: Store, *room_nids: int, at: int = NOW) -> dict[int, list[UserID]]:
    return store.read(typing.now, room_nids, now_ts=at)


def test_who_types_is_listed_in_the_order_of_starting(store: Store) -> None:
    room = store.write(add_room, ROOM, ALICE, BOB)
    assert start(store, room, BOB)
    assert start(store, room, ALICE)
    assert store.topics == ["room:!room:test"]
    assert [row.kinds for row in store.published] == [(Kind.TYPING,)]
    assert now(store, room) == {room: [BOB, ALICE]}


def test_going_on_typing_tells_nobody_but_lasts_longer(store: Store) -> None:
    room = store.write(add_room, ROOM, ALICE)
    start(store, room, ALICE)
    assert not start(store, room, ALICE, at=NOW + 20_000)
    assert store.published == []
    assert now(store, room, at=NOW + 49_999) == {room: [ALICE]}
    assert now(store, room, at=NOW + 50_000) == {}


def test_stopping_tells_the_room_once(store: Store) -> None:
    room = store.write(add_room, ROOM, ALICE)
    assert not store.write(typing.stop, room, ROOM, ALICE, now_ts=NOW)
    start(store, room, ALICE)
    assert store.write(typing.stop, room, ROOM, ALICE, now_ts=NOW + 1)
    assert store.topics == ["room:!room:test"]
    assert now(store, room, at=NOW + 1) == {}
    assert not store.write(typing.stop, room, ROOM, ALICE, now_ts=NOW + 2)
    assert start(store, room, ALICE, at=NOW + 3)


def test_rooms_are_read_together(store: Store) -> None:
    first, second = store.write(add_room, ROOM, ALICE), store.write(add_room, OTHER, BOB)
    start(store, first, ALICE)
    start(store, second, BOB)
    assert now(store, first, second) == {first: [ALICE], second: [BOB]}
    assert now(store, second) == {second: [BOB]}


def test_who_has_left_the_room_is_not_listed(store: Store) -> None:
    room = store.write(add_room, ROOM, ALICE, BOB)
    start(store, room, ALICE)
    store.write(leave, room, ALICE)
    assert now(store, room) == {}


def test_changes_are_found_between_positions(store: Store) -> None:
    first, second = store.write(add_room, ROOM, ALICE), store.write(add_room, OTHER, ALICE)
    start(store, first, ALICE)
    start(store, second, ALICE)
    store.write(typing.stop, first, ROOM, ALICE, now_ts=NOW + 1)
    assert store.position == 3
    rooms = (first, second)
    assert store.read(typing.changed, rooms, since=0, upto=3) == {first, second}
    assert store.read(typing.changed, rooms, since=2, upto=3) == {first}
    assert store.read(typing.changed, rooms, since=3, upto=9) == set()
    assert store.read(typing.changed, (second,), since=2, upto=3) == set()


def test_expiry_tells_the_room_once(store: Store) -> None:
    room = store.write(add_room, ROOM, ALICE, BOB)
    start(store, room, ALICE)
    start(store, room, BOB, lasts=60_000)
    assert not store.read(typing.is_due, now_ts=NOW + 29_999)
    assert store.read(typing.is_due, now_ts=NOW + 30_000)
    expired = store.write(typing.expire, now_ts=NOW + 30_000, most=10)
    assert expired == [typing.Expired(room, ROOM, ALICE)]
    assert store.topics == ["room:!room:test"]
    assert store.read(typing.changed, [room], since=2, upto=3) == {room}
    assert not store.read(typing.is_due, now_ts=NOW + 30_000)
    assert store.write(typing.expire, now_ts=NOW + 30_000, most=10) == []


def test_expiry_takes_the_longest_overdue_first(store: Store) -> None:
    room = store.write(add_room, ROOM, ALICE, BOB)
    start(store, room, ALICE, lasts=20_000)
    start(store, room, BOB, lasts=10_000)
    assert [one.user_id for one in store.write(typing.expire, now_ts=NOW + 99_000, most=1)] == [BOB]
    assert [one.user_id for one in store.write(typing.expire, now_ts=NOW + 99_000, most=9)] == [ALICE]


def test_pruning_forgets_only_who_stopped_long_ago(store: Store) -> None:
    room = store.write(add_room, ROOM, ALICE, BOB)
    start(store, room, ALICE)
    start(store, room, BOB, lasts=60_000)
    store.write(typing.stop, room, ROOM, ALICE, now_ts=NOW + 5)
    assert store.write(typing.prune, before_ts=NOW + 5) == 0
    assert store.write(typing.prune, before_ts=NOW + 6) == 1
    assert now(store, room) == {room: [BOB]}
