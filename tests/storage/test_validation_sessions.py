from typing import Any

import attrs

from homeserver.core.identifiers import UserID
from homeserver.core.threepids import Threepid
from homeserver.storage import validation_sessions
from homeserver.storage.validation_sessions import MOST_TOKENS, ValidationSession
from tests.storage.store import Store

ALICE = UserID("@alice:test")
ADDRESS = Threepid("email", "alice@example.org")


def session(**changes: Any) -> ValidationSession:
    plain = ValidationSession(
        purpose="add",
        threepid=ADDRESS,
        user_id=ALICE,
        token_hashes=b"",
        send_attempt=-1,
        failures=0,
        validated_ts=None,
        next_link=None,
        expires_ts=10,
    )
    return attrs.evolve(plain, **changes)


def token(number: int) -> bytes:
    return bytes([number]) * 32


def put(store: Store, key: bytes, *, now_ts: int = 0, **changes: Any) -> None:
    store.write(validation_sessions.put, key, session(**changes), now_ts=now_ts)


def find(store: Store, key: bytes, *, now_ts: int = 0) -> ValidationSession | None:
    return store.read(validation_sessions.find, key, now_ts=now_ts)


def test_a_session_is_found_until_it_expires(store: Store) -> None:
    put(store, b"1", token_hashes=token(1), next_link="https://x")
    assert find(store, b"1", now_ts=9) == session(token_hashes=token(1), next_link="https://x")
    assert find(store, b"1", now_ts=10) is None
    assert find(store, b"2") is None


def test_of_many_tokens_the_last_ones_are_good(store: Store) -> None:
    put(store, b"1", token_hashes=b"".join(token(number) for number in range(MOST_TOKENS + 1)))
    found = find(store, b"1")
    assert found is not None
    assert [found.has_token(token(number)) for number in range(MOST_TOKENS + 1)] == [False] + [
        True
    ] * MOST_TOKENS
    # Nothing that lies across two of them, nor nothing at all.
    assert not found.has_token(token(1)[:16] + token(2)[:16])
    assert not found.has_token(b"")


def test_the_number_of_the_last_mail_only_grows(store: Store) -> None:
    put(store, b"1")
    for attempt, last in ((3, 3), (2, 3), (4, 4)):
        store.write(validation_sessions.sent, b"1", attempt)
        found = find(store, b"1")
        assert found is not None
        assert found.send_attempt == last


def test_what_is_confirmed_is_taken_once_and_for_its_purpose(store: Store) -> None:
    put(store, b"1", token_hashes=token(1))
    assert store.write(validation_sessions.take, b"1", purpose="add", now_ts=0) is None
    assert store.write(validation_sessions.validate, b"1", now_ts=5, validated_ts=5, expires_ts=20)
    assert find(store, b"1", now_ts=19) == session(validated_ts=5, expires_ts=20)
    assert store.write(validation_sessions.take, b"1", purpose="reset", now_ts=6) is None
    assert store.write(validation_sessions.take, b"1", purpose="add", now_ts=20) is None
    assert store.write(validation_sessions.take, b"1", purpose="add", now_ts=6) == (ADDRESS, ALICE, 5)
    assert store.write(validation_sessions.take, b"1", purpose="add", now_ts=6) is None
    assert not store.write(validation_sessions.validate, b"2", now_ts=0, validated_ts=0, expires_ts=9)


def test_too_many_failures_end_a_session(store: Store) -> None:
    put(store, b"1")
    store.write(validation_sessions.fail, b"1", most=2, now_ts=0)
    assert find(store, b"1") == session(failures=1)
    store.write(validation_sessions.fail, b"1", most=2, now_ts=0)
    assert find(store, b"1") is None


def test_a_new_session_removes_what_has_expired(store: Store) -> None:
    put(store, b"1")
    put(store, b"2", expires_ts=99)
    put(store, b"3", now_ts=10, expires_ts=20)
    assert [find(store, key, now_ts=0) is None for key in (b"1", b"2", b"3")] == [True, False, False]
    store.write(validation_sessions.remove_of_user, ALICE)
    assert find(store, b"2") is None
