from homeserver.core.identifiers import RoomID, UserID
from homeserver.database.kinds import Kind
from homeserver.storage import account_data
from homeserver.storage.account_data import GLOBAL, AccountData
from tests.storage.store import Store

ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")
ROOM = RoomID("!room:test")
OTHER = RoomID("!other:test")
EVERYTHING = 2**62


def put(store: Store, user_id: UserID, room_id: RoomID, type: str, content: bytes = b"{}") -> None:
    store.write(account_data.put, user_id, room_id, type, content)


def test_data_are_kept_per_user_room_and_type(store: Store) -> None:
    put(store, ALICE, GLOBAL, "a", b'{"global":1}')
    put(store, ALICE, ROOM, "a", b'{"room":1}')
    put(store, ALICE, GLOBAL, "a", b'{"global":2}')
    assert store.read(account_data.of, ALICE, GLOBAL, "a") == b'{"global":2}'
    assert store.read(account_data.of, ALICE, ROOM, "a") == b'{"room":1}'
    assert store.read(account_data.of, ALICE, ROOM, "b") is None
    assert store.read(account_data.of, BOB, GLOBAL, "a") is None


def test_only_the_user_is_told(store: Store) -> None:
    put(store, ALICE, ROOM, "a")
    assert store.topics == ["user:@alice:test"]
    assert [row.kinds for row in store.published] == [(Kind.ACCOUNT_DATA,)]


def test_since_gives_changes_of_one_user_in_their_order(store: Store) -> None:
    put(store, ALICE, GLOBAL, "first")
    put(store, BOB, GLOBAL, "other user")
    put(store, ALICE, ROOM, "second")
    put(store, ALICE, GLOBAL, "first", b'{"again":true}')
    put(store, ALICE, GLOBAL, "too late")
    assert store.read(account_data.since, ALICE, since=1, upto=4) == [
        AccountData(ROOM, "second", b"{}"),
        AccountData(GLOBAL, "first", b'{"again":true}'),
    ]
    assert store.read(account_data.since, ALICE, since=5, upto=EVERYTHING) == []


def test_all_of_and_of_rooms(store: Store) -> None:
    put(store, ALICE, GLOBAL, "a")
    put(store, ALICE, ROOM, "b")
    put(store, ALICE, OTHER, "c")
    put(store, BOB, ROOM, "d")
    assert [data.type for data in store.read(account_data.all_of, ALICE, upto=EVERYTHING)] == ["a", "b", "c"]
    assert [data.type for data in store.read(account_data.all_of, ALICE, upto=2)] == ["a", "b"]
    of_rooms = store.read(account_data.of_rooms, ALICE, {ROOM, OTHER}, upto=EVERYTHING)
    assert of_rooms == [AccountData(ROOM, "b", b"{}"), AccountData(OTHER, "c", b"{}")]


def test_one_type_of_several_users(store: Store) -> None:
    put(store, ALICE, GLOBAL, "m.ignored_user_list", b'{"a":1}')
    put(store, BOB, ROOM, "m.ignored_user_list")
    put(store, BOB, GLOBAL, "other")
    found = store.read(account_data.of_users, [ALICE, BOB], "m.ignored_user_list")
    assert found == {ALICE: b'{"a":1}'}


def test_lock_gives_the_content_or_an_empty_object(store: Store) -> None:
    put(store, ALICE, ROOM, "a", b'{"x":1}')
    assert store.write(account_data.lock, ALICE, ROOM, "a") == b'{"x":1}'
    assert store.read(account_data.since, ALICE, since=0, upto=EVERYTHING) == [
        AccountData(ROOM, "a", b'{"x":1}')
    ]
    tx = store.transaction()
    assert account_data.lock(tx, BOB, ROOM, "a") == b"{}"
    account_data.put(tx, BOB, ROOM, "a", b'{"y":2}')
    store.flush(tx)
    assert store.read(account_data.since, BOB, since=0, upto=EVERYTHING) == [
        AccountData(ROOM, "a", b'{"y":2}')
    ]
