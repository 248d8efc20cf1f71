"""Client-server API, `admin.yaml`, and "Account locking" and "Account suspension" as it brings them about."""

from typing import Any

import pytest

from tests.api.server import PASSWORD, SERVER_NAME, Client, TestServer, path_of, room_path

KINDS = [("lock", "locked"), ("suspend", "suspended")]


@pytest.fixture
async def admin(server: TestServer) -> Client:
    return await server.user("admin", admin=True)


def where(kind: str, user_id: str) -> str:
    return path_of("admin", kind, user_id, version="v1")


@pytest.mark.parametrize(("kind", "name"), KINDS)
async def test_accounts_are_restricted_and_freed(admin: Client, alice: Client, kind: str, name: str) -> None:
    path = where(kind, alice.user_id)
    assert (await admin.get(path)).ok() == {name: False}
    for value in (True, True, False):
        assert (await admin.put(path, {name: value})).ok() == {name: value}
        assert (await admin.get(path)).ok() == {name: value}
    other = "suspend" if kind == "lock" else "lock"
    assert set((await admin.get(where(other, alice.user_id))).ok().values()) == {False}


@pytest.mark.parametrize(("kind", "name"), KINDS)
async def test_who_may(
    server: TestServer, admin: Client, alice: Client, bob: Client, kind: str, name: str
) -> None:
    other = await server.user("other", admin=True)
    nobody, elsewhere = f"@nobody:{SERVER_NAME}", "@alice:example.org"

    async def both(client: Client, user_id: str, status: int, errcode: str) -> None:
        (await client.get(where(kind, user_id))).error(status, errcode)
        (await client.put(where(kind, user_id), {name: True})).error(status, errcode)

    # Whether a user exists, who is no administrator does not find out.
    for user_id in (alice.user_id, bob.user_id, nobody, elsewhere, admin.user_id):
        await both(alice, user_id, 403, "M_FORBIDDEN")
    await both(admin, elsewhere, 400, "M_INVALID_PARAM")
    await both(admin, nobody, 404, "M_NOT_FOUND")
    await both(admin, other.user_id, 403, "M_FORBIDDEN")
    await server.server.services.accounts.deactivate(bob.user_id, erase=False)  # type: ignore[arg-type]  # what the test wants to be taken
    await both(admin, bob.user_id, 404, "M_NOT_FOUND")
    assert (await admin.get(where(kind, admin.user_id))).ok() == {name: False}
    (await admin.put(where(kind, admin.user_id), {name: True})).error(403, "M_FORBIDDEN")
    for body in ({}, {name: "yes"}):
        (await admin.put(where(kind, alice.user_id), body)).error(400, "M_BAD_JSON")
    assert (await admin.get(where(kind, alice.user_id))).ok() == {name: False}


async def test_a_locked_account_comes_back_as_it_was(
    admin: Client, alice: Client, server: TestServer
) -> None:
    room = await alice.create_room()
    (await admin.put(where("lock", alice.user_id), {"locked": True})).ok()
    answer = await alice.get(path_of("sync"), timeout=0)
    assert answer.error(401, "M_USER_LOCKED")["soft_logout"] is True
    identifier = {"type": "m.id.user", "user": alice.user_id}
    login = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
    (await server.anonymous().post(path_of("login"), login)).error(401, "M_USER_LOCKED")
    (await admin.put(where("lock", alice.user_id), {"locked": False})).ok()
    await alice.send(room, "back")


async def test_what_a_suspended_account_can_do(admin: Client, alice: Client, bob: Client) -> None:
    room, other = await alice.create_room(preset="public_chat"), await bob.create_room(preset="public_chat")
    knockable = await bob.create_room(
        initial_state=[{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}]
    )
    await bob.join(room)
    own, theirs = await alice.send(room, "mine"), await bob.send(room, "his")
    (await admin.put(where("suspend", alice.user_id), {"suspended": True})).ok()

    async def refused(method: str, path: str, body: Any) -> None:
        (await alice.request(method, path, body)).error(403, "M_USER_SUSPENDED")

    await refused("PUT", room_path(room, "send", "m.room.message", "t1"), {"msgtype": "m.text", "body": "x"})
    await refused("PUT", room_path(room, "state", "m.room.topic", ""), {"topic": "x"})
    await refused("PUT", room_path(room, "redact", theirs, "t2"), {})
    await refused("POST", path_of("join", other), {})
    await refused("POST", path_of("knock", knockable), {})
    await refused("POST", room_path(room, "invite"), {"user_id": f"@x:{SERVER_NAME}"})
    await refused("PUT", path_of("profile", alice.user_id, "displayname"), {"displayname": "x"})
    await refused("POST", path_of("createRoom"), {})
    await refused("POST", room_path(room, "upgrade"), {"new_version": "11"})
    (await alice.get(room_path(room, "messages"), dir="b")).ok()
    await alice.sync()
    (await alice.put(room_path(room, "redact", own, "t3"), {})).ok()
    await alice.leave(room)
    (await admin.put(where("suspend", alice.user_id), {"suspended": False})).ok()
    await alice.join(other)


async def test_where_a_user_is(server: TestServer, admin: Client, alice: Client, bob: Client) -> None:
    second = await server.device(alice)
    for asking in (admin, alice):
        found = (await asking.get(path_of("admin", "whois", alice.user_id))).ok()
        assert found["user_id"] == alice.user_id
        assert found["devices"].keys() == {alice.device_id, second.device_id}
    await server.server.database.write(lambda tx: None)  # what was noted beside the requests is there now
    found = (await alice.get(path_of("admin", "whois", alice.user_id))).ok()
    (session,) = found["devices"][alice.device_id]["sessions"]
    (connection,) = session["connections"]
    assert connection["ip"] == "127.0.0.1"
    assert abs(connection["last_seen"] - server.clock.now_ts()) < 60_000
    assert found["devices"][second.device_id] == {"sessions": []}  # it has asked for nothing yet
    (await bob.get(path_of("admin", "whois", alice.user_id))).error(403, "M_FORBIDDEN")
    (await bob.get(path_of("admin", "whois", f"@nobody:{SERVER_NAME}"))).error(403, "M_FORBIDDEN")
    (await admin.get(path_of("admin", "whois", f"@nobody:{SERVER_NAME}"))).error(404, "M_NOT_FOUND")
    (await admin.get(path_of("admin", "whois", "@alice:example.org"))).error(400, "M_INVALID_PARAM")


async def test_administrators_are_told_what_they_can_do(admin: Client, alice: Client) -> None:
    def told(answer: Any) -> Any:
        return answer["capabilities"].get("m.account_moderation")

    assert told((await admin.get(path_of("capabilities"))).ok()) == {"suspend": True, "lock": True}
    assert told((await alice.get(path_of("capabilities"))).ok()) is None
