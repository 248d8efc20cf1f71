"""Clients, codes, device codes and browsers of the OAuth 2.0 API."""

import msgspec

from homeserver.core.identifiers import DeviceID, UserID
from homeserver.storage import (
    browser_sessions,
    oauth_clients,
    oauth_codes,
    oauth_device_codes,
    refresh_tokens,
    users,
)
from homeserver.storage.browser_sessions import BrowserUser
from homeserver.storage.oauth_codes import AuthorizationCode
from homeserver.storage.oauth_device_codes import DeviceCode
from tests.storage.store import Store

ALICE = UserID("@alice:test")
BOB = UserID("@bob:test")

CODE = AuthorizationCode(
    client_id="client",
    redirect_uri="https://example.com/",
    code_challenge="challenge",
    user_id=ALICE,
    device_id=DeviceID("D"),
    scope="scope",
    expires_ts=10,
)
DEVICE_CODE = DeviceCode(
    user_code="BCDFGHJK",
    client_id="client",
    device_id=DeviceID("D"),
    scope="scope",
    expires_ts=10,
    interval_ms=5,
)


def count(store: Store, table: str) -> int:
    store.cursor.execute(f"SELECT count(*) FROM {table}")
    found: int = store.cursor.fetchone()[0]
    return found


def test_a_client_is_kept_as_long_as_it_has_a_session(store: Store) -> None:
    store.write(oauth_clients.put, "a", {"x": "y"}, now_ts=0, until_ts=10)
    store.write(oauth_clients.put, "b", {}, now_ts=0, until_ts=10)
    assert store.read(oauth_clients.metadata_of, "a") == {"x": "y"}
    assert store.read(oauth_clients.metadata_of, "c") is None
    # Nothing of a legacy login keeps a client, and nothing of another client's.
    for number, client_id in enumerate(("a", None, "other")):
        store.write(
            refresh_tokens.add,
            b"%d" % number,
            family_hash=b"f",
            user_id=ALICE,
            device_id=DeviceID("D"),
            now_ts=0,
            replaces_hash=None,
            oauth_client_id=client_id,
        )
    assert store.write(oauth_clients.prune, now_ts=9, limit=10) == 0
    assert store.write(oauth_clients.prune, now_ts=10, limit=10) == 1
    assert store.read(oauth_clients.metadata_of, "b") is None
    store.write(refresh_tokens.remove_of_devices, ALICE, [DeviceID("D")])
    assert store.write(oauth_clients.prune, now_ts=10, limit=10) == 1


def test_a_client_is_kept_longer_but_not_shorter(store: Store) -> None:
    store.write(oauth_clients.put, "a", {}, now_ts=0, until_ts=10)
    store.write(oauth_clients.put, "a", {}, now_ts=0, until_ts=30)
    store.write(oauth_clients.put, "a", {}, now_ts=0, until_ts=20)
    store.write(oauth_clients.keep, "a", until_ts=5)
    assert store.write(oauth_clients.prune, now_ts=29, limit=10) == 0
    assert store.write(oauth_clients.prune, now_ts=30, limit=10) == 1


def test_no_more_clients_are_forgotten_at_once_than_asked_for(store: Store) -> None:
    for number in range(5):
        store.write(oauth_clients.put, str(number), {}, now_ts=0, until_ts=10)
    assert [store.write(oauth_clients.prune, now_ts=10, limit=2) for _ in range(4)] == [2, 2, 1, 0]


def test_a_code_remembers_what_it_has_led_to(store: Store) -> None:
    store.write(oauth_codes.add, b"1", CODE, now_ts=0)
    assert store.write(oauth_codes.lock, b"1") == CODE
    assert store.write(oauth_codes.lock, b"2") is None
    store.write(oauth_codes.used, b"1", family_hash=b"family")
    assert store.write(oauth_codes.lock, b"1") == msgspec.structs.replace(CODE, family_hash=b"family")


def test_codes_of_a_user_that_have_not_been_used(store: Store) -> None:
    store.write(oauth_codes.add, b"1", CODE, now_ts=0)
    store.write(oauth_codes.add, b"2", CODE, now_ts=0)
    store.write(oauth_codes.add, b"3", msgspec.structs.replace(CODE, user_id=BOB), now_ts=0)
    store.write(oauth_codes.used, b"2", family_hash=b"family")
    store.write(oauth_codes.remove_of_user, ALICE)
    found = [store.write(oauth_codes.lock, code) is not None for code in (b"1", b"2", b"3")]
    assert found == [False, True, True]


def test_codes_do_not_pile_up(store: Store) -> None:
    for number in range(60):
        store.write(oauth_codes.add, b"%d" % number, CODE, now_ts=0)
    late = 10 + oauth_codes.REMEMBERED_MS
    store.write(oauth_codes.add, b"early", msgspec.structs.replace(CODE, expires_ts=late), now_ts=late - 1)
    assert count(store, "oauth_codes") == 61
    store.write(oauth_codes.add, b"new", msgspec.structs.replace(CODE, expires_ts=late + 10), now_ts=late)
    assert count(store, "oauth_codes") == 62 - oauth_codes.EXPIRED_AT_ONCE


def test_a_user_code_is_one_devices(store: Store) -> None:
    assert store.write(oauth_device_codes.add, b"1", DEVICE_CODE, now_ts=0)
    assert not store.write(oauth_device_codes.add, b"2", DEVICE_CODE, now_ts=0)
    assert store.read(oauth_device_codes.of_user_code, "BCDFGHJK", now_ts=9) == DEVICE_CODE
    assert store.read(oauth_device_codes.of_user_code, "BCDFGHJK", now_ts=10) is None
    assert store.read(oauth_device_codes.of_user_code, "other", now_ts=9) is None
    assert store.read(oauth_device_codes.find, b"1") == DEVICE_CODE
    assert store.read(oauth_device_codes.find, b"2") is None


def test_what_is_decided_once_stays(store: Store) -> None:
    other = msgspec.structs.replace(DEVICE_CODE, user_code="other")
    store.write(oauth_device_codes.add, b"1", DEVICE_CODE, now_ts=0)
    store.write(oauth_device_codes.add, b"2", other, now_ts=0)

    def decide(user_code: str, user_id: UserID, *, is_denied: bool, now_ts: int = 9) -> bool:
        return store.write(oauth_device_codes.decide, user_code, user_id, is_denied=is_denied, now_ts=now_ts)

    assert not decide("BCDFGHJK", ALICE, is_denied=False, now_ts=10)
    assert not decide("unknown", ALICE, is_denied=False)
    assert decide("BCDFGHJK", ALICE, is_denied=False)
    assert decide("other", BOB, is_denied=True)
    assert not decide("BCDFGHJK", BOB, is_denied=True)
    assert not decide("other", ALICE, is_denied=False)
    assert store.write(oauth_device_codes.lock, b"1") == msgspec.structs.replace(DEVICE_CODE, user_id=ALICE)
    assert store.write(oauth_device_codes.lock, b"2") == msgspec.structs.replace(
        other, user_id=BOB, is_denied=True
    )
    store.write(oauth_device_codes.remove_of_user, ALICE)
    assert store.read(oauth_device_codes.find, b"1") is None
    store.write(oauth_device_codes.remove, b"2")
    assert store.read(oauth_device_codes.find, b"2") is None


def test_device_codes_do_not_pile_up(store: Store) -> None:
    for number in range(60):
        code = msgspec.structs.replace(DEVICE_CODE, user_code=str(number))
        store.write(oauth_device_codes.add, b"%d" % number, code, now_ts=0)
    store.write(oauth_device_codes.polled, b"0", now_ts=3, interval_ms=7)
    found = store.read(oauth_device_codes.find, b"0")
    assert found is not None
    assert (found.polled_ts, found.interval_ms) == (3, 7)
    late = 10 + oauth_device_codes.REMEMBERED_MS
    store.write(
        oauth_device_codes.add, b"new", msgspec.structs.replace(DEVICE_CODE, expires_ts=late), now_ts=late
    )
    assert count(store, "oauth_device_codes") == 61 - oauth_device_codes.EXPIRED_AT_ONCE


def make_user(store: Store, user_id: UserID) -> None:
    store.write(users.create, user_id, password_hash=None, display_name="x", now_ts=0)


def test_who_is_logged_in_in_a_browser(store: Store) -> None:
    make_user(store, ALICE)
    make_user(store, BOB)
    for key, user_id in ((b"1", ALICE), (b"2", ALICE), (b"3", BOB)):
        store.write(browser_sessions.add, key, user_id, expires_ts=10, now_ts=0)

    def who(key: bytes, now_ts: int = 9) -> BrowserUser | None:
        return store.read(browser_sessions.user_of, key, now_ts=now_ts)

    assert who(b"1") == BrowserUser(ALICE, is_suspended=False)
    assert who(b"1", now_ts=10) is None
    assert who(b"4") is None
    store.write(users.set_suspended, ALICE, is_suspended=True)
    assert who(b"1") == BrowserUser(ALICE, is_suspended=True)
    store.write(browser_sessions.remove, b"1")
    assert (who(b"1") is None, who(b"2") is None) == (True, False)
    store.write(browser_sessions.remove_of_user, ALICE)
    assert (who(b"2") is None, who(b"3") is None) == (True, False)
    store.write(users.set_locked, BOB, is_locked=True)
    assert who(b"3") is None
    store.write(users.set_locked, BOB, is_locked=False)
    assert who(b"3") is not None
    store.write(users.deactivate, BOB)
    assert who(b"3") is None


def test_browser_sessions_do_not_pile_up(store: Store) -> None:
    for number in range(60):
        store.write(browser_sessions.add, b"%d" % number, ALICE, expires_ts=10, now_ts=0)
    store.write(browser_sessions.add, b"new", ALICE, expires_ts=20, now_ts=10)
    assert count(store, "browser_sessions") == 61 - browser_sessions.EXPIRED_AT_ONCE
