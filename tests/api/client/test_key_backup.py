"""Client-server API, "Server-side key backups"."""

import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import pytest
from sqlalchemy import func, select
from twisted.internet.defer import Deferred, gatherResults

from homeserver.database.statements import statement
from homeserver.database.tables.key_backups import (
    discarded_key_backups,
    key_backup_versions,
    key_backups,
    room_keys,
)
from homeserver.database.transactions import ReadTransaction
from tests.api.server import PASSWORD, Answer, Client, TestServer, path_of

ALGORITHM = "m.megolm_backup.v1.curve25519-aes-sha2"
ROOMS = ("!a:test.example", "!b:test.example")
VERSION = path_of("room_keys", "version")


def of_version(version: str) -> str:
    return path_of("room_keys", "version", version)


def keys_path(*parts: str) -> str:
    return path_of("room_keys", "keys", *parts)


def key(first: int = 0, forwarded: int = 0, *, verified: bool = False, text: str = "x") -> dict[str, Any]:
    return {
        "first_message_index": first,
        "forwarded_count": forwarded,
        "is_verified": verified,
        "session_data": {"ephemeral": "e", "ciphertext": text, "mac": "m"},
    }


async def create(client: Client, **auth_data: Any) -> str:
    body = {"algorithm": ALGORITHM, "auth_data": {"public_key": "abc", **auth_data}}
    return cast("str", (await client.post(VERSION, body)).ok()["version"])


async def fill(client: Client, version: str) -> Any:
    """Two sessions in one room, and one in another."""
    rooms = {ROOMS[0]: {"sessions": {"s1": key(), "s2": key()}}, ROOMS[1]: {"sessions": {"s1": key()}}}
    return (await client.put(keys_path(), {"rooms": rooms}, version=version)).ok()


async def all_keys(client: Client, version: str) -> Any:
    return (await client.get(keys_path(), version=version)).ok()["rooms"]


async def test_versions(alice: Client, bob: Client) -> None:
    (await alice.get(VERSION)).error(404, "M_NOT_FOUND")
    first = await create(alice)
    assert (await alice.get(VERSION)).ok() == {
        "algorithm": ALGORITHM,
        "auth_data": {"public_key": "abc"},
        "count": 0,
        "etag": "0",
        "version": first,
    }
    second = await create(alice, number=2)
    assert second != first
    assert (await alice.get(VERSION)).ok()["version"] == second
    assert (await alice.get(of_version(first))).ok()["auth_data"] == {"public_key": "abc"}
    assert (await alice.get(of_version(second))).ok()["auth_data"] == {"public_key": "abc", "number": 2}
    for version in ("3", "0", "-1", "01", "x", "1" * 30, "\u00b2"):
        (await alice.get(of_version(version))).error(404, "M_NOT_FOUND")
    # Everybody has their own.
    (await bob.get(VERSION)).error(404, "M_NOT_FOUND")
    (await bob.get(of_version(first))).error(404, "M_NOT_FOUND")


async def test_auth_data_are_replaced(alice: Client) -> None:
    version = await create(alice)
    etag = (await fill(alice, version))["etag"]
    signed = {"public_key": "abc", "signatures": {alice.user_id: {"ed25519:DEVICE": "signature"}}}
    body: dict[str, Any] = {"algorithm": ALGORITHM, "auth_data": signed}
    for extra in ({}, {"version": version}):
        assert (await alice.put(of_version(version), {**body, **extra})).ok() == {}
    told = (await alice.get(VERSION)).ok()
    assert told == {
        "algorithm": ALGORITHM,
        "auth_data": signed,
        "count": 3,
        "etag": etag,
        "version": version,
    }
    for wrong in ({**body, "algorithm": "org.example.other"}, {**body, "version": "2"}):
        answer = await alice.request("PUT", of_version(version), wrong, check=False)
        answer.error(400, "M_INVALID_PARAM")
    for missing in body:
        shorter = {name: value for name, value in body.items() if name != missing}
        (await alice.request("PUT", of_version(version), shorter, check=False)).error(400, "M_BAD_JSON")
    (await alice.put(of_version("2"), body)).error(404, "M_NOT_FOUND")
    assert (await alice.get(VERSION)).ok() == told


async def test_deleting_versions(alice: Client) -> None:
    first, second = await create(alice), await create(alice)
    (await alice.delete(of_version("3"))).error(404, "M_NOT_FOUND")
    await fill(alice, second)
    for _ in range(2):
        assert (await alice.delete(of_version(second))).ok() == {}
    # The one before is the latest again, and the version of the other one comes no more.
    assert (await alice.get(VERSION)).ok()["version"] == first
    (await alice.get(of_version(second))).error(404, "M_NOT_FOUND")
    for answer in (
        await alice.get(keys_path(), version=second),
        await alice.get(keys_path(ROOMS[0]), version=second),
        await alice.get(keys_path(ROOMS[0], "s1"), version=second),
        await alice.put(keys_path(ROOMS[0], "s1"), key(), version=second),
        await alice.delete(keys_path(), version=second),
    ):
        answer.error(404, "M_NOT_FOUND")
    assert await all_keys(alice, first) == {}
    (await alice.delete(of_version(first))).ok()
    (await alice.get(VERSION)).error(404, "M_NOT_FOUND")
    third = await create(alice)
    assert third not in (first, second)
    assert await all_keys(alice, third) == {}


async def test_keys_come_back_in_all_forms(alice: Client) -> None:
    version = await create(alice)
    one = key(1, 2, verified=True, text="\u00e9\U0001f511")
    assert (await alice.put(keys_path(ROOMS[0], "s/1"), one, version=version)).ok()["count"] == 1
    of_room = {"sessions": {"s/1": key(5, 5), "s2": key(7)}}
    assert (await alice.put(keys_path(ROOMS[0]), of_room, version=version)).ok()["count"] == 2
    rooms = {"rooms": {ROOMS[0]: {"sessions": {"s3": key(3)}}, ROOMS[1]: {"sessions": {"s/1": key(4)}}}}
    assert (await alice.put(keys_path(), rooms, version=version)).ok()["count"] == 4
    first = {"s/1": one, "s2": key(7), "s3": key(3)}
    assert await all_keys(alice, version) == {
        ROOMS[0]: {"sessions": first},
        ROOMS[1]: {"sessions": {"s/1": key(4)}},
    }
    assert (await alice.get(keys_path(ROOMS[0]), version=version)).ok() == {"sessions": first}
    assert (await alice.get(keys_path(ROOMS[0], "s/1"), version=version)).ok() == one
    # What is not there: an empty answer, but for a single key.
    assert (await alice.get(keys_path("!c:test.example"), version=version)).ok() == {"sessions": {}}
    for room, session in ((ROOMS[1], "s2"), ("!c:test.example", "s2")):
        (await alice.get(keys_path(room, session), version=version)).error(404, "M_NOT_FOUND")
    empty = await create(alice)
    assert (await alice.get(keys_path(), version=empty)).ok() == {"rooms": {}}


async def test_etag_and_count(alice: Client) -> None:
    version = await create(alice)
    etags = [(await alice.get(VERSION)).ok()["etag"]]

    async def check(answer: Answer, count: int, *, changed: bool) -> None:
        told = answer.ok()
        assert told["count"] == count
        assert (told["etag"] != etags[-1]) is changed
        assert not changed or told["etag"] not in etags
        etags.append(told["etag"])
        now = (await alice.get(VERSION)).ok()
        assert (now["etag"], now["count"]) == (told["etag"], count)

    async def put(room: str, session: str, data: object) -> Answer:
        return await alice.put(keys_path(room, session), data, version=version)

    async def delete(*parts: str) -> Answer:
        return await alice.delete(keys_path(*parts), version=version)

    await check(await put(ROOMS[0], "s1", key(5)), 1, changed=True)
    await check(await put(ROOMS[0], "s1", key(5)), 1, changed=False)
    await check(await put(ROOMS[0], "s1", key(6)), 1, changed=False)
    await check(await put(ROOMS[0], "s1", key(4)), 1, changed=True)
    await check(await put(ROOMS[1], "s1", key(4)), 2, changed=True)
    await check(await put(ROOMS[1], "s2", key(4)), 3, changed=True)
    await check(await alice.put(keys_path(), {"rooms": {}}, version=version), 3, changed=False)
    await check(await alice.put(keys_path(ROOMS[0]), {"sessions": {}}, version=version), 3, changed=False)
    await check(await delete(ROOMS[0], "s2"), 3, changed=False)
    await check(await delete(ROOMS[1], "s1"), 2, changed=True)
    await check(await delete(ROOMS[1]), 1, changed=True)
    await check(await delete(ROOMS[1]), 1, changed=False)
    await check(await delete(), 0, changed=True)
    await check(await delete(), 0, changed=False)
    await check(await put(ROOMS[0], "s1", key(9)), 1, changed=True)


@pytest.mark.parametrize(
    "path_and_body",
    [
        lambda data: (keys_path(ROOMS[0], "s1"), data),
        lambda data: (keys_path(ROOMS[0]), {"sessions": {"s1": data}}),
        lambda data: (keys_path(), {"rooms": {ROOMS[0]: {"sessions": {"s1": data}}}}),
    ],
)
async def test_the_better_key_is_kept(
    alice: Client, path_and_body: Callable[[object], tuple[str, object]]
) -> None:
    """By whichever form it comes. All cases of the rule: tests/unit/test_key_backups.py."""
    version = await create(alice)
    sent = [
        (key(5, 5, text="first"), "first"),
        (key(5, 5, text="the same"), "first"),
        (key(5, 6, text="handed on more often"), "first"),
        (key(5, 4, text="handed on less often"), "handed on less often"),
        (key(6, 0, text="later index"), "handed on less often"),
        (key(4, 9, text="earlier index"), "earlier index"),
        (key(9, 9, verified=True, text="verified"), "verified"),
        (key(0, 0, text="not verified"), "verified"),
        (key(8, 9, verified=True, text="verified and earlier"), "verified and earlier"),
    ]
    for data, expected in sent:
        path, body = path_and_body(data)
        assert (await alice.put(path, body, version=version)).ok()["count"] == 1
        kept = (await alice.get(keys_path(ROOMS[0], "s1"), version=version)).ok()
        assert kept["session_data"]["ciphertext"] == expected


async def test_only_the_latest_takes_keys(alice: Client) -> None:
    (await alice.put(keys_path(), {"rooms": {}}, version="1")).error(404, "M_NOT_FOUND")
    old = await create(alice)
    await fill(alice, old)
    new = await create(alice)
    for path, body in (
        (keys_path(), {"rooms": {ROOMS[0]: {"sessions": {"s9": key()}}}}),
        (keys_path(), {"rooms": {}}),
        (keys_path(ROOMS[0]), {"sessions": {"s9": key()}}),
        (keys_path(ROOMS[0], "s9"), key()),
    ):
        refused = (await alice.put(path, body, version=old)).error(403, "M_WRONG_ROOM_KEYS_VERSION")
        assert refused["current_version"] == new
        (await alice.put(path, body, version="77")).error(404, "M_NOT_FOUND")
    # The old one can be read, and keys be removed from it.
    assert set((await alice.get(keys_path(ROOMS[0]), version=old)).ok()["sessions"]) == {"s1", "s2"}
    assert (await alice.delete(keys_path(ROOMS[0], "s1"), version=old)).ok()["count"] == 2
    # When the later one is gone, it takes keys again.
    (await alice.delete(of_version(new))).ok()
    assert (await alice.put(keys_path(ROOMS[0], "s1"), key(), version=old)).ok()["count"] == 3


async def test_the_version_must_be_given(alice: Client) -> None:
    await create(alice)
    bodies = {
        keys_path(): {"rooms": {}},
        keys_path(ROOMS[0]): {"sessions": {}},
        keys_path(ROOMS[0], "s"): key(),
    }
    for path, body in bodies.items():
        for method, sent in (("PUT", body), ("GET", None), ("DELETE", None)):
            (await alice.request(method, path, sent, check=False)).error(400, "M_MISSING_PARAM")


async def test_what_cannot_be_stored_is_refused_whole(alice: Client) -> None:
    version = await create(alice)
    too_large = key(text="x" * 33_000)
    bad: list[tuple[object, int, str]] = [
        ({**key(), "first_message_index": -1}, 400, "M_BAD_JSON"),
        ({**key(), "first_message_index": 2**53}, 400, "M_BAD_JSON"),
        ({**key(), "forwarded_count": 1.5}, 400, "M_BAD_JSON"),
        ({**key(), "is_verified": 1}, 400, "M_BAD_JSON"),
        ({**key(), "session_data": "x"}, 400, "M_BAD_JSON"),
        *(({k: v for k, v in key().items() if k != name}, 400, "M_BAD_JSON") for name in key()),
        (too_large, 413, "M_TOO_LARGE"),
    ]
    for data, status, errcode in bad:
        both = {"rooms": {ROOMS[0]: {"sessions": {"good": key(), "bad": data}}}}
        sent: object
        for path, sent in ((keys_path(), both), (keys_path(ROOMS[0], "bad"), data)):
            answer = await alice.request("PUT", path, sent, query={"version": version}, check=False)
            answer.error(status, errcode)
    for room, session in (("a room", "s"), (ROOMS[0], ""), (ROOMS[0], "x" * 256), (ROOMS[0], "a\0b")):
        sent = {"rooms": {room: {"sessions": {session: key()}}}}
        answer = await alice.request("PUT", keys_path(), sent, query={"version": version}, check=False)
        answer.error(400, "M_INVALID_PARAM")
    assert (await alice.get(VERSION)).ok()["count"] == 0
    body: dict[str, Any] = {"algorithm": ALGORITHM, "auth_data": {"public_key": "x" * 66_000}}
    (await alice.request("POST", VERSION, body, check=False)).error(413, "M_TOO_LARGE")
    (await alice.request("PUT", of_version(version), body, check=False)).error(413, "M_TOO_LARGE")
    for algorithm in ("", "x" * 256):
        body = {"algorithm": algorithm, "auth_data": {"public_key": "x"}}
        (await alice.request("POST", VERSION, body, check=False)).error(400, "M_INVALID_PARAM")


async def test_many_keys_at_once(alice: Client) -> None:
    """More than go into one transaction, and into one part of an answer."""
    version = await create(alice)
    rooms = {
        f"!room{room}:test.example": {"sessions": {f"s{number}": key(number) for number in range(count)}}
        for room, count in enumerate((700, 1, 200, 400, 0, 3))
    }
    answer = (await alice.put(keys_path(), {"rooms": rooms}, version=version)).ok()
    assert answer["count"] == 1304
    expected = {room: keys for room, keys in rooms.items() if keys["sessions"]}
    assert await all_keys(alice, version) == expected
    for room in expected:
        assert (await alice.get(keys_path(room), version=version)).ok() == rooms[room]
    assert (await alice.put(keys_path(), {"rooms": rooms}, version=version)).ok() == answer
    # Those of a room go in several steps, too.
    left = (await alice.delete(keys_path("!room0:test.example"), version=version)).ok()
    assert left["count"] == 604
    del expected["!room0:test.example"]
    assert await all_keys(alice, version) == expected


async def test_a_restore_that_is_broken_off(server: TestServer, alice: Client) -> None:
    """The server does not read on, and nothing is the worse for it. (More is sent than sockets hold.)"""
    version = await create(alice)
    for room in range(3):
        sessions = {f"s{number}": key(text="x" * 32_000) for number in range(250)}
        path = keys_path(f"!room{room}:test.example")
        (await alice.put(path, {"sessions": sessions}, version=version)).ok()
    for _ in range(3):
        head = f"GET {keys_path()}?version={version} HTTP/1.1\r\nHost: x"
        with socket.create_connection(("127.0.0.1", server.server.ports[0])) as connection:
            connection.sendall(f"{head}\r\nAuthorization: Bearer {alice.access_token}\r\n\r\n".encode())
            connection.settimeout(0)
            received = b""
            while not received:
                await alice.get(VERSION)
                with suppress(BlockingIOError):
                    received = connection.recv(65_536)
        assert received.startswith(b"HTTP/1.1 200 OK")
    assert (await alice.get(VERSION)).ok()["count"] == 750
    assert len(await all_keys(alice, version)) == 3


async def test_devices_that_upload_at_the_same_time(server: TestServer, alice: Client) -> None:
    other = await server.device(alice)
    version = await create(alice)
    uploads = []
    for number in range(20):
        for client, index in ((alice, number), (other, 20 - number)):
            sessions = {f"s{session}": key(index, text=f"index {index}") for session in range(10)}
            uploads.append(client.put(keys_path(ROOMS[0]), {"sessions": sessions}, version=version))
    answers = await gatherResults([Deferred.fromCoroutine(each) for each in uploads])
    assert {answer.ok()["count"] for answer in answers} == {10}
    kept = (await alice.get(keys_path(ROOMS[0]), version=version)).ok()["sessions"]
    assert kept == {f"s{session}": key(0, text="index 0") for session in range(10)}
    now = (await other.get(VERSION)).ok()
    assert now["etag"] in {answer.ok()["etag"] for answer in answers}


def rows(tx: ReadTransaction) -> list[int]:
    """How many backups, versions, keys, and discarded backups there are."""
    tables = (key_backups, key_backup_versions, room_keys, discarded_key_backups)
    return [tx.value(statement(select(func.count()).select_from(table))) for table in tables]


async def test_what_is_deleted_leaves_nothing_behind(server: TestServer, alice: Client, bob: Client) -> None:
    database, service = server.server.database, server.server.services.key_backups
    first = await create(alice)
    await fill(alice, first)
    second = await create(alice)
    await fill(alice, second)
    await fill(bob, await create(bob))
    (await alice.delete(keys_path(), version=first)).ok()
    (await alice.delete(of_version(second))).ok()
    await service.purge()
    assert await database.read(rows) == [2, 2, 3, 0]
    assert (await alice.put(keys_path(ROOMS[0], "s"), key(), version=first)).ok()["count"] == 1
    assert (await all_keys(bob, "1")).keys() == set(ROOMS)


async def test_who_closes_the_account_leaves_no_keys(server: TestServer, alice: Client, bob: Client) -> None:
    for client in (alice, bob):
        for _ in range(2):
            await fill(client, await create(client))
    identifier = {"type": "m.id.user", "user": alice.user_id}
    auth = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
    path = path_of("account", "deactivate")
    session = (await alice.request("POST", path, {}, check=False)).json["session"]
    (await alice.post(path, {"auth": {**auth, "session": session}})).ok()
    database = server.server.database
    assert (await database.read(rows))[:2] == [2, 1]
    await server.server.services.key_backups.purge()
    assert await database.read(rows) == [2, 1, 6, 0]
