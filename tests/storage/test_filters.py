from homeserver.core.identifiers import UserID
from homeserver.storage import filters
from tests.storage.store import Store

ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")


def test_a_filter_is_its_users_alone(store: Store) -> None:
    store.write(filters.add, ALICE, "f1", b'{"room":{}}')
    assert store.read(filters.of, ALICE, "f1") == b'{"room":{}}'
    assert store.read(filters.of, BOB, "f1") is None
    assert store.read(filters.of, ALICE, "f2") is None


def test_adding_it_again_changes_nothing(store: Store) -> None:
    store.write(filters.add, ALICE, "f1", b"{}")
    store.write(filters.add, ALICE, "f1", b"{}")
    assert store.read(filters.of, ALICE, "f1") == b"{}"
