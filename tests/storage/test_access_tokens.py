from homeserver.core.identifiers import DeviceID, UserID
from homeserver.storage import access_tokens, users
from homeserver.storage.access_tokens import Bearer
from tests.storage.store import Store

ALICE = UserID("@alice:test")
A, B = DeviceID("A"), DeviceID("B")


def add(
    store: Store,
    token_hash: bytes,
    device_id: DeviceID = A,
    *,
    refresh: bytes | None = None,
    replaces: bytes | None = None,
) -> None:
    store.write(
        access_tokens.add,
        token_hash,
        user_id=ALICE,
        device_id=device_id,
        now_ts=1,
        expires_ts=9,
        refresh_hash=refresh,
        replaces_hash=replaces,
    )


def make_alice(store: Store) -> None:
    store.write(users.create, ALICE, password_hash=None, display_name="a", now_ts=1, is_admin=True)


def known(store: Store, *token_hashes: bytes) -> list[bytes]:
    return [each for each in token_hashes if store.read(access_tokens.bearer_of, each) is not None]


def test_a_token_says_whose_it_is(store: Store) -> None:
    make_alice(store)
    add(store, b"t", refresh=b"r", replaces=b"q")
    assert store.read(access_tokens.bearer_of, b"t") == Bearer(
        user_id=ALICE,
        device_id=A,
        expires_ts=9,
        refresh_hash=b"r",
        replaces_hash=b"q",
        is_admin=True,
        is_guest=False,
        is_deactivated=False,
        is_locked=False,
        is_suspended=False,
    )
    assert store.read(access_tokens.bearer_of, b"u") is None


def test_tokens_go_with_their_devices(store: Store) -> None:
    make_alice(store)
    add(store, b"1", A)
    add(store, b"2", A)
    add(store, b"3", B)
    store.write(access_tokens.remove_of_devices, ALICE, [A])
    assert known(store, b"1", b"2", b"3") == [b"3"]


def test_settling_leaves_one_line_of_tokens(store: Store) -> None:
    make_alice(store)
    add(store, b"old", refresh=b"r0")
    add(store, b"new", refresh=b"r1", replaces=b"r0")
    add(store, b"rival", refresh=b"r2", replaces=b"r0")
    add(store, b"elsewhere", B, refresh=b"r3", replaces=b"r9")
    store.write(access_tokens.settle, ALICE, A, replaced_hash=b"r0", kept_hash=b"r1")
    assert known(store, b"old", b"new", b"rival", b"elsewhere") == [b"new", b"elsewhere"]
    new, elsewhere = (store.read(access_tokens.bearer_of, each) for each in (b"new", b"elsewhere"))
    assert new is not None
    assert new.replaces_hash is None
    assert elsewhere is not None
    assert elsewhere.replaces_hash == b"r9"
