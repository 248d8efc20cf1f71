from homeserver.core.identifiers import RoomID, UserID
from homeserver.database.kinds import Kind
from homeserver.storage import push_rules
from tests.population import add_member, add_room
from tests.storage.store import Store

ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")
CAROL = UserID("@carol:test")
REMOTE = UserID("@dave:elsewhere")


def test_rules_are_replaced_and_their_owner_is_told(store: Store) -> None:
    store.write(push_rules.put, ALICE, b'{"a":1}')
    store.write(push_rules.put, ALICE, b'{"a":2}')
    assert store.topics == ["user:@alice:test"]
    assert [row.kinds for row in store.published] == [(Kind.ACCOUNT_DATA,)]
    assert store.read(push_rules.of, ALICE) == b'{"a":2}'
    assert store.read(push_rules.of, BOB) is None


def test_a_change_is_found_between_positions(store: Store) -> None:
    store.write(push_rules.put, BOB, b"{}")
    store.write(push_rules.put, ALICE, b"{}")
    assert store.read(push_rules.has_changed, ALICE, since=1, upto=2)
    assert not store.read(push_rules.has_changed, ALICE, since=2, upto=9)
    assert not store.read(push_rules.has_changed, ALICE, since=0, upto=1)
    assert not store.read(push_rules.has_changed, CAROL, since=0, upto=9)


def test_members_are_the_joined_users_of_this_server(store: Store) -> None:
    room = store.write(add_room, RoomID("!room:test"), ALICE, BOB)
    store.write(add_member, room, CAROL, membership="leave")
    store.write(add_member, room, REMOTE, is_local=False)
    other = store.write(add_room, RoomID("!other:test"), CAROL)
    for user_id in (ALICE, CAROL, REMOTE):
        store.write(push_rules.put, user_id, user_id.encode())
    assert store.read(push_rules.of_members, room) == {ALICE: b"@alice:test"}
    assert store.read(push_rules.of_members, other) == {CAROL: b"@carol:test"}


def test_lock_gives_the_rules_or_what_stands_for_none(store: Store) -> None:
    store.write(push_rules.put, ALICE, b'{"a":1}')
    assert store.write(push_rules.lock, ALICE, empty=b"{}") == b'{"a":1}'
    assert store.write(push_rules.lock, BOB, empty=b"{}") == b"{}"
