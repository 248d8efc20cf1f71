from homeserver.storage import registration_tokens
from tests.storage.store import Store


def test_a_token_is_good_for_so_many_accounts(store: Store) -> None:
    assert store.write(registration_tokens.add, "twice", uses_allowed=2, expires_ts=None)
    assert not store.write(registration_tokens.add, "twice", uses_allowed=9, expires_ts=None)
    for _ in range(2):
        assert store.read(registration_tokens.is_valid, "twice", now_ts=0)
        assert store.write(registration_tokens.use, "twice", now_ts=0)
    assert not store.read(registration_tokens.is_valid, "twice", now_ts=0)
    assert not store.write(registration_tokens.use, "twice", now_ts=0)


def test_a_token_is_good_until_its_moment(store: Store) -> None:
    store.write(registration_tokens.add, "brief", uses_allowed=None, expires_ts=10)
    assert store.read(registration_tokens.is_valid, "brief", now_ts=9)
    assert store.write(registration_tokens.use, "brief", now_ts=9)
    assert not store.read(registration_tokens.is_valid, "brief", now_ts=10)
    assert not store.write(registration_tokens.use, "brief", now_ts=10)


def test_a_token_without_limits_stays_good(store: Store) -> None:
    store.write(registration_tokens.add, "ever", uses_allowed=None, expires_ts=None)
    for _ in range(20):
        assert store.write(registration_tokens.use, "ever", now_ts=10**15)
    assert not store.read(registration_tokens.is_valid, "never", now_ts=0)
