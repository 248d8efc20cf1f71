from homeserver.storage import registration_nonces
from tests.storage.store import Store


def test_a_nonce_is_good_once_and_for_a_while(store: Store) -> None:
    store.write(registration_nonces.add, "a", expires_ts=10, now_ts=0)
    store.write(registration_nonces.add, "b", expires_ts=10, now_ts=0)
    assert store.write(registration_nonces.take, "a", now_ts=9)
    assert not store.write(registration_nonces.take, "a", now_ts=9)
    assert not store.write(registration_nonces.take, "b", now_ts=10)
    assert not store.write(registration_nonces.take, "c", now_ts=0)


def test_expired_nonces_do_not_pile_up(store: Store) -> None:
    for number in range(60):
        store.write(registration_nonces.add, str(number), expires_ts=10, now_ts=0)
    store.write(registration_nonces.add, "new", expires_ts=20, now_ts=10)
    store.cursor.execute("SELECT count(*) FROM registration_nonces")
    assert store.cursor.fetchone()[0] == 60 + 1 - registration_nonces.EXPIRED_AT_ONCE
