import itertools

import pytest

from homeserver.core.identifiers import RoomID, UserID
from homeserver.core.key_backups import KeyBackup, KeyMetadata, RoomKey
from homeserver.storage import key_backups, room_keys
from tests.storage.store import Store

ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")


def made(store: Store, user_id: UserID = ALICE) -> KeyBackup:
    version = store.write(key_backups.create, user_id, algorithm="a", auth_data=b"{}")
    found = store.read(key_backups.of, user_id, version)
    assert found is not None
    return found


def key(room: str, session: str, first: int = 0) -> RoomKey:
    return RoomKey(RoomID(room), session, KeyMetadata(first, 1, 1), b'{"ciphertext":"%d"}' % first)


def discarded(store: Store, now_ts: int = 0) -> int | None:
    return store.write(key_backups.claim_discarded, now_ts=now_ts, until_ts=now_ts + 100)


def test_no_version_comes_twice(store: Store) -> None:
    first, second = made(store), made(store)
    assert (first.version, second.version) == (1, 2)
    store.write(key_backups.remove, ALICE, second)
    store.write(key_backups.remove, ALICE, first)
    assert store.read(key_backups.latest, ALICE) is None
    assert made(store).version == 3
    assert made(store, BOB).version == 1
    for version, expected in ((0, False), (1, True), (3, True), (4, False)):
        assert store.read(key_backups.has_existed, ALICE, version) is expected
    assert not store.read(key_backups.has_existed, UserID("@carol:test"), 1)


def test_the_latest_is_the_last_one_that_is_left(store: Store) -> None:
    first, second = made(store), made(store)
    assert store.read(key_backups.latest, ALICE) == second
    store.write(key_backups.remove, ALICE, second)
    assert store.read(key_backups.latest, ALICE) == first


def test_changes_are_those_of_one_backup(store: Store) -> None:
    first, second = made(store), made(store)
    store.write(key_backups.set_auth_data, ALICE, 1, b'{"x":1}')
    store.write(key_backups.keys_changed, ALICE, second, key_count=5)
    now = [store.read(key_backups.of, ALICE, version) for version in (1, 2)]
    assert now == [
        KeyBackup(1, first.backup_nid, "a", b'{"x":1}', 0, 0),
        KeyBackup(2, second.backup_nid, "a", b"{}", 5, 1),
    ]


def test_discarded_keys_are_claimed_by_one_until_its_lease_is_over(store: Store) -> None:
    first = made(store)
    assert discarded(store) is None
    anew = store.write(key_backups.empty, ALICE, first)
    assert (anew.key_count, anew.etag) == (0, 1)
    assert anew.backup_nid != first.backup_nid
    assert store.read(key_backups.of, ALICE, 1) == anew
    assert discarded(store) == first.backup_nid
    assert discarded(store, 99) is None
    store.write(key_backups.keep_discarded, first.backup_nid, until_ts=500)
    assert discarded(store, 499) is None
    assert discarded(store, 500) == first.backup_nid
    store.write(key_backups.discarded_is_removed, first.backup_nid)
    assert discarded(store, 9_000) is None


def test_all_that_a_user_has_is_discarded(store: Store) -> None:
    gone = {made(store).backup_nid, made(store).backup_nid}
    kept = made(store, BOB)
    store.write(key_backups.remove_of_user, ALICE)
    assert store.read(key_backups.latest, ALICE) is None
    assert not store.read(key_backups.has_existed, ALICE, 1)
    assert {discarded(store), discarded(store)} == gone
    assert discarded(store) is None
    assert store.read(key_backups.of, BOB, 1) == kept


@pytest.mark.parametrize("most", [1, 2, 3, 7, 8])
def test_pages_have_every_key_once(store: Store, most: int) -> None:
    # Which of two IDs comes first is the database's business; those of a room stand together.
    keys = [key(room, session) for room in ("!a:x", "!B:x", "!ä") for session in ("s", "S", "ß")][:7]
    store.write(room_keys.put_later, 1, keys)
    store.write(room_keys.put_later, 2, [key("!a:x", "another")])
    found: list[RoomKey] = []
    while page := store.read(room_keys.page, 1, found[-1] if found else None, most=most):
        assert len(page) <= most
        found += page
    assert sorted(map(repr, found)) == sorted(map(repr, keys))
    rooms = [each.room_id for each in found]
    assert len(set(rooms)) == 1 + sum(one != other for one, other in itertools.pairwise(rooms))
    for room in set(rooms):
        of_room: list[RoomKey] = []
        while page := store.read(
            room_keys.page_of_room, 1, room, of_room[-1] if of_room else None, most=most
        ):
            of_room += page
        assert of_room == [each for each in found if each.room_id == room]


def test_keys_are_replaced_and_removed(store: Store) -> None:
    keys = [key("!a", "s1"), key("!a", "s2"), key("!a", "s3"), key("!b", "s1")]
    store.write(room_keys.put_later, 1, keys)
    store.write(room_keys.put_later, 2, keys)
    store.write(room_keys.put_later, 1, [key("!a", "s1", first=5)])
    assert store.read(room_keys.of, 1, RoomID("!a"), "s1") == key("!a", "s1", first=5)
    assert store.read(room_keys.of, 1, RoomID("!b"), "s2") is None
    asked = [key("!a", "s1"), key("!a", "s2"), key("!b", "s1"), key("!b", "s2"), key("!c", "s1")]
    assert store.read(room_keys.metadata_of, 1, asked) == {
        ("!a", "s1"): KeyMetadata(5, 1, 1),
        ("!a", "s2"): KeyMetadata(0, 1, 1),
        ("!b", "s1"): KeyMetadata(0, 1, 1),
    }
    assert [store.write(room_keys.remove, 1, RoomID("!a"), "s1") for _ in range(2)] == [1, 0]
    assert store.write(room_keys.remove_some_of_room, 1, RoomID("!a"), most=1) == 1
    assert store.write(room_keys.remove_some_of_room, 1, RoomID("!a"), most=5) == 1
    assert store.read(room_keys.page, 1, None, most=9) == [key("!b", "s1")]
    assert store.write(room_keys.remove_some, 2, most=3) == 3
    assert store.write(room_keys.remove_some, 2, most=3) == 1
    assert store.write(room_keys.remove_some, 2, most=3) == 0
    assert store.read(room_keys.page, 1, None, most=9) == [key("!b", "s1")]
