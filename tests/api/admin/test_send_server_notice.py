"""Synapse's admin API, "Server Notices", and the client-server API's module of that name."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred, gatherResults

from homeserver.config.sections import ServerNotices
from tests.api.server import Client, TestServer, path_of, room_path, running_server
from tests.openapi import Specification

PATH = "/_synapse/admin/v1/send_server_notice"
NOTICES = "@notices:test.example"
AVATAR = "mxc://test.example/avatar"


@pytest.fixture
async def notifying(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> AsyncIterator[TestServer]:
    section = ServerNotices(
        localpart="notices", display_name="The office", avatar_url=AVATAR, room_name="Notices", room_topic="!"
    )
    async with running_server(database_url, tmp_path, specification, server_notices=section) as server:
        yield server


def notice(user: Client | str, text: str) -> dict[str, Any]:
    user_id = user if isinstance(user, str) else user.user_id
    return {"user_id": user_id, "content": {"msgtype": "m.text", "body": text}}


async def tell(admin: Client, user: Client, text: str) -> str:
    event_id: str = (await admin.post(PATH, notice(user, text))).ok()["event_id"]
    return event_id


async def invited_to(client: Client) -> list[str]:
    return list((await client.sync()).get("rooms", {}).get("invite", {}))


async def test_a_user_is_told_something(notifying: TestServer) -> None:
    admin, alice = await notifying.user("admin", admin=True), await notifying.user("alice")
    event_id = await tell(admin, alice, "Welcome")
    (room,) = (await alice.sync())["rooms"]["invite"].items()
    stripped = {(event["type"], event["state_key"]): event for event in room[1]["invite_state"]["events"]}
    assert stripped["m.room.name", ""]["content"] == {"name": "Notices"}
    assert stripped["m.room.avatar", ""]["content"] == {"url": AVATAR}
    invitation = stripped["m.room.member", alice.user_id]
    assert (invitation["sender"], invitation["content"]["membership"]) == (NOTICES, "invite")
    await alice.join(room[0])
    joined = (await alice.sync())["rooms"]["join"][room[0]]
    (tags,) = (event for event in joined["account_data"]["events"] if event["type"] == "m.tag")
    assert tags["content"] == {"tags": {"m.server_notice": {}}}
    said = (await alice.get(room_path(room[0], "event", event_id))).ok()
    assert (said["sender"], said["content"]["body"]) == (NOTICES, "Welcome")
    member = (await alice.get(room_path(room[0], "state", "m.room.member", NOTICES))).ok()
    assert (member["displayname"], member["avatar_url"]) == ("The office", AVATAR)
    # There is one room for all of it, in which nobody answers.
    await tell(admin, alice, "Again")
    assert await alice.messages_in(room[0]) == ["Welcome", "Again"]
    answer = {"msgtype": "m.text", "body": "Thanks"}
    (await alice.put(room_path(room[0], "send", "m.room.message", "1"), answer)).error(403, "M_FORBIDDEN")


async def test_the_invitation_cannot_be_rejected_but_the_room_can_be_left(notifying: TestServer) -> None:
    admin, alice = await notifying.user("admin", admin=True), await notifying.user("alice")
    await tell(admin, alice, "Welcome")
    (room,) = await invited_to(alice)
    errcode = "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM"
    (await alice.post(room_path(room, "leave"))).error(403, errcode)
    member = room_path(room, "state", "m.room.member", alice.user_id)
    (await alice.put(member, {"membership": "leave"})).error(403, errcode)
    assert await invited_to(alice) == [room]
    await alice.join(room)
    await alice.leave(room)
    assert await invited_to(alice) == []
    await tell(admin, alice, "Again")
    assert await invited_to(alice) == [room]
    # Others' invitations are rejected as ever.
    other = await admin.create_room(invite=[alice.user_id])
    await alice.leave(other)


async def test_an_account_is_closed_all_the_same(notifying: TestServer) -> None:
    admin, alice = await notifying.user("admin", admin=True), await notifying.user("alice")
    await tell(admin, alice, "Welcome")
    auth = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}}
    body = {"auth": auth | {"password": "a password of the tests"}}
    (await alice.post(path_of("account", "deactivate"), body)).ok()
    (await admin.post(PATH, notice(alice, "Gone"))).error(404, "M_NOT_FOUND")


async def test_who_blocks_invitations_is_told_too(notifying: TestServer) -> None:
    admin, alice = await notifying.user("admin", admin=True), await notifying.user("alice")
    config = path_of("user", alice.user_id, "account_data", "m.invite_permission_config")
    (await alice.put(config, {"default_action": "block"})).ok()
    await tell(admin, alice, "Welcome")
    (room,) = (await alice.get(path_of("joined_rooms"))).ok()["joined_rooms"]
    assert await alice.messages_in(room) == ["Welcome"]


async def test_a_repeated_request_is_done_once(notifying: TestServer) -> None:
    admin, alice = await notifying.user("admin", admin=True), await notifying.user("alice")
    body = notice(alice, "Once")
    done = await gatherResults([Deferred.fromCoroutine(admin.put(f"{PATH}/t1", body)) for _ in range(3)])
    assert len({each.ok()["event_id"] for each in done}) == 1
    (await admin.put(f"{PATH}/t2", body | {"type": "org.example", "state_key": "k"})).ok()
    (room,) = await invited_to(alice)
    await alice.join(room)
    assert await alice.messages_in(room) == ["Once"]
    assert (await alice.get(room_path(room, "state", "org.example", "k"))).ok()["body"] == "Once"


async def test_what_is_refused(notifying: TestServer) -> None:
    admin, alice = await notifying.user("admin", admin=True), await notifying.user("alice")
    (await alice.post(PATH, notice(alice, "No"))).error(403, "M_FORBIDDEN")
    for user, status, errcode in (
        ("@nobody:test.example", 404, "M_NOT_FOUND"),
        ("@nobody:example.org", 400, "M_INVALID_PARAM"),
        ("nobody", 400, "M_INVALID_PARAM"),
    ):
        (await admin.post(PATH, notice(user, "No"))).error(status, errcode)
    (await admin.post(PATH, notice(alice, "No") | {"type": "m.room.member"})).error(400, "M_INVALID_PARAM")
    (await admin.post(PATH, {"user_id": alice.user_id})).error(400, "M_BAD_JSON")
    assert await invited_to(alice) == []
    # Nobody gets the name under which this server speaks.
    nobody = notifying.anonymous()
    auth = {"type": "m.login.dummy"}
    body = {"username": "notices", "password": "a password of the tests", "auth": auth}
    (await nobody.post(path_of("register"), body)).error(400, "M_EXCLUSIVE")


async def test_without_configuration_there_are_none(server: TestServer, alice: Client) -> None:
    admin = await server.user("admin", admin=True)
    (await admin.post(PATH, notice(alice, "No"))).error(400, "M_UNKNOWN")
