from homeserver.core.identifiers import UserID
from homeserver.core.profiles import NameAndAvatar
from homeserver.storage import profiles
from tests.storage.store import Store

ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")
CAROL = UserID("@carol:test")


def test_fields_are_set_replaced_and_removed(store: Store) -> None:
    store.write(profiles.put, ALICE, "displayname", "Alice")
    store.write(profiles.put, ALICE, "displayname", "Älice")
    store.write(profiles.put, ALICE, "org.example.list", [1, {"a": None}])
    store.write(profiles.put, BOB, "displayname", "Bob")
    assert store.read(profiles.of, ALICE) == {"displayname": "Älice", "org.example.list": [1, {"a": None}]}
    assert store.write(profiles.delete_field, ALICE, "displayname")
    assert not store.write(profiles.delete_field, ALICE, "displayname")
    assert store.read(profiles.of, ALICE) == {"org.example.list": [1, {"a": None}]}
    assert store.read(profiles.of, BOB) == {"displayname": "Bob"}
    assert store.read(profiles.of, CAROL) == {}


def test_null_is_a_value_like_any_other(store: Store) -> None:
    store.write(profiles.put, ALICE, "org.example.nothing", None)
    assert store.read(profiles.field_of, ALICE, "org.example.nothing") == b"null"
    assert store.read(profiles.field_of, ALICE, "org.example.unset") is None
    assert store.write(profiles.lock, ALICE) == {"org.example.nothing": b"null"}


def test_names_and_avatars_of_many(store: Store) -> None:
    store.write(profiles.put, ALICE, "displayname", "Alice")
    store.write(profiles.put, ALICE, "avatar_url", "mxc://test/a")
    store.write(profiles.put, ALICE, "m.tz", "Europe/Berlin")
    store.write(profiles.put, BOB, "avatar_url", "mxc://test/b")
    store.write(profiles.put, CAROL, "m.tz", "Europe/Berlin")
    assert store.read(profiles.names_of, {ALICE, BOB, CAROL}) == {
        ALICE: NameAndAvatar("Alice", "mxc://test/a"),
        BOB: NameAndAvatar(None, "mxc://test/b"),
    }
