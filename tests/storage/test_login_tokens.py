from homeserver.core.identifiers import UserID
from homeserver.storage import login_tokens
from tests.storage.store import Store

ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")


def add(store: Store, token_hash: bytes, user_id: UserID = ALICE, *, now_ts: int = 0) -> None:
    store.write(login_tokens.add, token_hash, user_id=user_id, expires_ts=now_ts + 10, now_ts=now_ts)


def test_a_token_is_good_once_and_for_a_while(store: Store) -> None:
    add(store, b"1")
    add(store, b"2")
    assert store.write(login_tokens.take, b"1", now_ts=9) == ALICE
    assert store.write(login_tokens.take, b"1", now_ts=9) is None
    assert store.write(login_tokens.take, b"2", now_ts=10) is None
    assert store.write(login_tokens.take, b"3", now_ts=0) is None


def test_a_users_tokens_are_removed(store: Store) -> None:
    add(store, b"1", ALICE)
    add(store, b"2", BOB)
    store.write(login_tokens.remove_of_user, ALICE)
    assert store.write(login_tokens.take, b"1", now_ts=0) is None
    assert store.write(login_tokens.take, b"2", now_ts=0) == BOB


def test_expired_tokens_do_not_pile_up(store: Store) -> None:
    for number in range(60):
        add(store, b"old %d" % number)
    add(store, b"new", now_ts=10)
    store.cursor.execute("SELECT count(*) FROM login_tokens")
    assert store.cursor.fetchone()[0] == 60 + 1 - login_tokens.EXPIRED_AT_ONCE
    assert store.write(login_tokens.take, b"new", now_ts=10) == ALICE
