from homeserver.core.identifiers import UserID
from homeserver.core.json import JsonObject
from homeserver.storage import uia_sessions
from homeserver.storage.uia_sessions import Remembered, UiaSession
from tests.storage.store import Store

ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")


def add(
    store: Store,
    key: bytes,
    *,
    user_id: UserID | None = ALICE,
    completed: JsonObject | None = None,
    now_ts: int = 0,
) -> None:
    store.write(
        uia_sessions.add,
        key,
        operation="op",
        user_id=user_id,
        request_mac=b"mac",
        completed=completed or {},
        failures=0,
        challenge={"flows": []},
        now_ts=now_ts,
        expires_ts=now_ts + 10,
    )


def session(*, completed: JsonObject, failures: int = 0) -> UiaSession:
    return UiaSession(
        operation="op",
        user_id=ALICE,
        request_mac=b"mac",
        completed=completed,
        failures=failures,
        challenge={"flows": []},
    )


def test_a_session_is_found_until_it_expires(store: Store) -> None:
    add(store, b"1", completed={"b": "x", "a": None})
    found = store.read(uia_sessions.find, b"1", now_ts=9)
    assert found == session(completed={"b": "x", "a": None})
    assert list(found.completed) == ["b", "a"]
    assert store.read(uia_sessions.find, b"1", now_ts=10) is None
    assert store.read(uia_sessions.find, b"2", now_ts=0) is None


def test_a_stage_is_completed_once(store: Store) -> None:
    add(store, b"1")
    store.write(uia_sessions.fail, b"1", most=5, now_ts=0)
    assert store.write(uia_sessions.complete, b"1", {}, "one", ALICE, user_id=None, now_ts=0)
    assert not store.write(uia_sessions.complete, b"1", {}, "one", BOB, user_id=BOB, now_ts=0)
    assert store.write(uia_sessions.complete, b"1", {"one": ALICE}, "two", 2, user_id=ALICE, now_ts=0)
    found = store.read(uia_sessions.find, b"1", now_ts=0)
    assert found == session(completed={"one": ALICE, "two": 2})
    assert not store.write(uia_sessions.complete, b"2", {}, "one", ALICE, user_id=ALICE, now_ts=0)


def test_too_many_failures_end_a_session(store: Store) -> None:
    add(store, b"1")
    for failures in (1, 2):
        store.write(uia_sessions.fail, b"1", most=3, now_ts=0)
        assert store.read(uia_sessions.find, b"1", now_ts=0) == session(completed={}, failures=failures)
    store.write(uia_sessions.fail, b"1", most=3, now_ts=0)
    assert store.read(uia_sessions.find, b"1", now_ts=0) is None


def test_what_a_registration_said_is_kept_until_it_is_done(store: Store) -> None:
    add(store, b"1", user_id=None)

    def remembered(operation: str = "op", now_ts: int = 0) -> Remembered | None:
        return store.read(uia_sessions.remembered, b"1", operation=operation, now_ts=now_ts)

    empty = Remembered(parameters=None, password_hash=None, registered_user_id=None)
    assert remembered() == empty
    assert remembered("another operation") is None
    assert remembered(now_ts=10) is None
    store.write(uia_sessions.remember, b"1", parameters={"a": 1}, password_hash="h", now_ts=0)
    assert remembered() == Remembered(parameters={"a": 1}, password_hash="h", registered_user_id=None)
    assert store.write(uia_sessions.lock_remembered, b"1", operation="op", now_ts=0) == remembered()
    store.write(uia_sessions.registered, b"1", BOB, until_ts=5)
    assert remembered() == Remembered(parameters=None, password_hash=None, registered_user_id=BOB)
    store.write(uia_sessions.remember, b"1", parameters={"a": 2}, password_hash="h", now_ts=0)
    assert remembered(now_ts=4) == Remembered(parameters=None, password_hash=None, registered_user_id=BOB)
    assert remembered(now_ts=5) is None


def test_sessions_are_removed(store: Store) -> None:
    for key, user_id in ((b"1", ALICE), (b"2", ALICE), (b"3", BOB), (b"4", None)):
        add(store, key, user_id=user_id)
    assert store.write(uia_sessions.remove, b"1")
    assert not store.write(uia_sessions.remove, b"1")
    store.write(uia_sessions.complete, b"4", {}, "one", ALICE, user_id=ALICE, now_ts=0)
    store.write(uia_sessions.remove_of_user, ALICE)
    left = [key for key in (b"1", b"2", b"3", b"4") if store.read(uia_sessions.find, key, now_ts=0)]
    assert left == [b"3"]


def test_expired_sessions_do_not_pile_up(store: Store) -> None:
    for number in range(60):
        add(store, b"old %d" % number)
    add(store, b"new", now_ts=10)
    store.cursor.execute("SELECT count(*) FROM uia_sessions")
    assert store.cursor.fetchone()[0] == 60 + 1 - uia_sessions.EXPIRED_AT_ONCE
