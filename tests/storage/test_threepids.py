from homeserver.core.identifiers import UserID
from homeserver.core.threepids import Threepid
from homeserver.storage import accepted_policies, threepid_bindings, threepids
from homeserver.storage.threepid_bindings import Binding
from homeserver.storage.threepids import OwnThreepid
from tests.storage.store import Store

ALICE, BOB = UserID("@alice:test"), UserID("@bob:test")
ONE, TWO = Threepid("email", "one@example.org"), Threepid("email", "two@example.org")


def add(store: Store, user_id: UserID, threepid: Threepid, *, now_ts: int) -> bool:
    return store.write(threepids.add, user_id, threepid, validated_ts=now_ts - 1, now_ts=now_ts)


def test_an_identifier_belongs_to_one_account(store: Store) -> None:
    assert add(store, ALICE, ONE, now_ts=10)
    assert not add(store, BOB, ONE, now_ts=20)
    # Validated anew, it is as old as before.
    assert add(store, ALICE, ONE, now_ts=30)
    assert add(store, ALICE, TWO, now_ts=40)
    assert store.read(threepids.of_user, ALICE) == [OwnThreepid(ONE, 29, 10), OwnThreepid(TWO, 39, 40)]
    assert store.read(threepids.count_of_user, ALICE) == 2
    assert store.read(threepids.owner_of, ONE) == ALICE
    assert not store.write(threepids.remove, BOB, ONE)
    assert store.write(threepids.remove, ALICE, ONE)
    assert add(store, BOB, ONE, now_ts=50)
    store.write(threepids.remove_of_user, ALICE)
    assert store.read(threepids.owner_of, TWO) is None
    assert store.read(threepids.owner_of, ONE) == BOB


def test_what_is_published_is_remembered_by_server(store: Store) -> None:
    here, there = Binding(ONE, "a.example"), Binding(ONE, "b.example")
    for binding in (there, here, here):
        store.write(threepid_bindings.add, ALICE, binding)
    assert store.read(threepid_bindings.of_user, ALICE) == [here, there]
    store.write(threepid_bindings.remove, ALICE, here)
    assert store.read(threepid_bindings.of_user, ALICE) == [there]
    store.write(threepid_bindings.remove_of_user, ALICE)
    assert store.read(threepid_bindings.of_user, ALICE) == []


def test_policies_are_accepted_by_version(store: Store) -> None:
    store.write(accepted_policies.add, ALICE, {"terms": "1", "privacy": "1"}, now_ts=1)
    store.write(accepted_policies.add, ALICE, {"terms": "2", "privacy": "1"}, now_ts=2)
    assert store.read(accepted_policies.of_user, ALICE) == [
        ("privacy", "1", 1),
        ("terms", "1", 1),
        ("terms", "2", 2),
    ]
    store.write(accepted_policies.remove_of_user, ALICE)
    assert store.read(accepted_policies.of_user, ALICE) == []
