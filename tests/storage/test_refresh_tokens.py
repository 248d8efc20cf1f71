from homeserver.core.identifiers import DeviceID, UserID
from homeserver.storage import refresh_tokens, users
from homeserver.storage.refresh_tokens import Grant
from tests.storage.store import Store

ALICE = UserID("@alice:test")
A, B = DeviceID("A"), DeviceID("B")


def add(store: Store, token_hash: bytes, device_id: DeviceID = A, *, replaces: bytes | None = None) -> None:
    store.write(
        refresh_tokens.add,
        token_hash,
        family_hash=b"family of " + device_id.encode(),
        user_id=ALICE,
        device_id=device_id,
        now_ts=1,
        replaces_hash=replaces,
    )


def make_alice(store: Store) -> None:
    store.write(users.create, ALICE, password_hash=None, display_name="a", now_ts=1)


def known(store: Store, *token_hashes: bytes) -> list[bytes]:
    return [each for each in token_hashes if store.write(refresh_tokens.grant_of, each) is not None]


def test_a_token_says_what_it_is_good_for(store: Store) -> None:
    make_alice(store)
    add(store, b"r", replaces=b"q")
    grant = Grant(user_id=ALICE, device_id=A, replaces_hash=b"q", is_deactivated=False, is_locked=False)
    assert store.write(refresh_tokens.grant_of, b"r") == grant
    assert store.write(refresh_tokens.grant_of, b"s") is None


def test_a_family_lives_as_long_as_one_of_its_tokens(store: Store) -> None:
    make_alice(store)
    add(store, b"1", A)
    add(store, b"2", A)
    add(store, b"3", B)
    assert store.read(refresh_tokens.login_of, b"family of A")
    store.write(refresh_tokens.remove_of_devices, ALICE, [A])
    assert store.read(refresh_tokens.login_of, b"family of A") is None
    assert store.read(refresh_tokens.login_of, b"family of B")
    assert known(store, b"1", b"2", b"3") == [b"3"]


def test_settling_leaves_one_line_of_tokens(store: Store) -> None:
    make_alice(store)
    add(store, b"r0")
    add(store, b"r1", replaces=b"r0")
    add(store, b"r2", replaces=b"r0")
    add(store, b"r3", B, replaces=b"r9")
    store.write(refresh_tokens.settle, ALICE, A, replaced_hash=b"r0", kept_hash=b"r1")
    assert known(store, b"r0", b"r1", b"r2", b"r3") == [b"r1", b"r3"]
    kept, elsewhere = (store.write(refresh_tokens.grant_of, each) for each in (b"r1", b"r3"))
    assert kept is not None
    assert kept.replaces_hash is None
    assert elsewhere is not None
    assert elsewhere.replaces_hash == b"r9"
