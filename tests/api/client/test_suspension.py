"""Client-server API, "Account suspension": what its lists permit and forbid, by every way that leads there."""

from typing import Any

import pytest

from tests.api.client.mail_harness import password_of
from tests.api.server import SERVER_NAME, Client, TestServer, path_of, room_path

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

ME, TEXT = "@alice:test.example", {"msgtype": "m.text", "body": "x"}


@pytest.fixture
async def rooms(alice: Client, bob: Client) -> dict[str, str]:
    """Rooms that alice is in or not, with an invitation to one, and an event of bob."""
    shared = await alice.create_room(preset="public_chat", name="shared", room_alias_name="shared")
    await bob.join(shared)
    invited = await bob.create_room(invite=[alice.user_id])
    open_room = await bob.create_room(preset="public_chat", room_alias_name="open")
    knock = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
    knockable = await bob.create_room(initial_state=[knock])
    theirs, own = await bob.send(shared, "bob's"), await alice.send(shared, "alice's")
    return {
        "shared": shared,
        "invited": invited,
        "open": open_room,
        "knockable": knockable,
        "theirs": theirs,
        "own": own,
    }


def forbidden(rooms: dict[str, str]) -> list[tuple[str, str, Any]]:
    """ "the recommended set of explicitly forbidden actions"."""
    shared, member = rooms["shared"], room_path(rooms["shared"], "state", "m.room.member", ME)
    address = {"id_server": "id.example", "id_access_token": "t", "medium": "email", "address": "a@b.c"}
    carol = {"user_id": f"@carol:{SERVER_NAME}"}
    return [
        # Joining or knocking on rooms, accepting invitations.
        ("POST", path_of("join", rooms["open"]), {}),
        ("POST", path_of("join", f"#open:{SERVER_NAME}"), {}),
        ("POST", room_path(rooms["open"], "join"), {}),
        ("POST", room_path(rooms["invited"], "join"), {}),
        ("PUT", room_path(rooms["open"], "state", "m.room.member", ME), {"membership": "join"}),
        ("POST", path_of("knock", rooms["knockable"]), {}),
        ("PUT", room_path(rooms["knockable"], "state", "m.room.member", ME), {"membership": "knock"}),
        # Sending invitations, and other memberships of others.
        ("POST", room_path(shared, "invite"), carol),
        ("POST", room_path(shared, "invite"), {"user_id": "@carol:elsewhere.example"}),
        ("POST", room_path(shared, "invite"), address),
        ("PUT", room_path(shared, "state", "m.room.member", carol["user_id"]), {"membership": "invite"}),
        ("PUT", room_path(shared, "state", "m.room.third_party_invite", "token"), {"display_name": "x"}),
        ("POST", room_path(shared, "kick"), {"user_id": f"@bob:{SERVER_NAME}"}),
        ("POST", room_path(shared, "ban"), {"user_id": f"@bob:{SERVER_NAME}"}),
        # Sending messages, and state.
        ("PUT", room_path(shared, "send", "m.room.message", "t1"), TEXT),
        ("PUT", room_path(shared, "send", "m.reaction", "t2"), {"m.relates_to": {}}),
        ("PUT", room_path(shared, "state", "m.room.name", ""), {"name": "x"}),
        ("PUT", room_path(shared, "state", "m.room.name"), {"name": "x"}),
        # Changing profile data, also by membership.
        ("PUT", path_of("profile", ME, "displayname"), {"displayname": "x"}),
        ("PUT", path_of("profile", ME, "avatar_url"), {"avatar_url": "mxc://a/b"}),
        ("PUT", path_of("profile", ME, "org.example.field"), {"org.example.field": "x"}),
        ("DELETE", path_of("profile", ME, "displayname"), None),
        ("PUT", member, {"membership": "join", "displayname": "x"}),
        # Redacting others' events, although she may in this room.
        ("PUT", room_path(shared, "redact", rooms["theirs"], "t3"), {}),
        ("PUT", room_path(shared, "send", "m.room.redaction", "t4"), {"redacts": rooms["theirs"]}),
        # What would show something new of her in other ways.
        ("POST", path_of("createRoom"), {}),
        ("POST", room_path(shared, "upgrade"), {"new_version": "11"}),
        ("PUT", path_of("directory", "room", f"#new:{SERVER_NAME}"), {"room_id": shared}),
        ("DELETE", path_of("directory", "room", f"#shared:{SERVER_NAME}"), None),
        ("PUT", path_of("directory", "list", "room", shared), {"visibility": "public"}),
        # "Change or add admin contacts, but not remove."
        ("POST", path_of("account", "3pid", "delete"), {"medium": "email", "address": "a@b.c"}),
    ]


async def state_of(user: Client, room: str) -> set[str]:
    return {event["event_id"] for event in (await user.get(room_path(room, "state"))).ok()}


async def test_what_is_forbidden(server: TestServer, alice: Client, rooms: dict[str, str]) -> None:
    await server.restrict(alice, "is_suspended")
    before = await state_of(alice, rooms["shared"])
    wrong = []
    for method, path, body in forbidden(rooms):
        answer = await alice.request(method, path, body, check=False)
        if (answer.status, answer.json.get("errcode")) != (403, "M_USER_SUSPENDED"):
            wrong.append((method, path, answer.status, answer.json))
    assert not wrong
    assert await state_of(alice, rooms["shared"]) == before
    assert await alice.messages_in(rooms["shared"]) == ["bob's", "alice's"]


async def test_what_is_permitted(
    server: TestServer, alice: Client, bob: Client, rooms: dict[str, str]
) -> None:
    """ "Servers SHOULD permit the user to perform at least the following"."""
    shared = rooms["shared"]
    await server.restrict(alice, "is_suspended")
    # Log in and create additional sessions (which are also suspended).
    second = await server.device(alice)
    answer = await second.put(room_path(shared, "send", "m.room.message", "t1"), TEXT)
    answer.error(403, "M_USER_SUSPENDED")
    token = await second.post("/_matrix/client/v1/login/get_token", {"auth": password_of(alice)})
    login = {"type": "m.login.token", "token": token.ok()["login_token"]}
    third = (await server.anonymous().post(path_of("login"), login)).ok()
    # See and receive messages.
    since = (await alice.sync())["next_batch"]
    await bob.send(shared, "more")
    assert shared in (await alice.sync(since))["rooms"]["join"]
    assert await alice.messages_in(shared) == ["bob's", "alice's", "more"]
    # Leave rooms and reject invites.
    await alice.leave(rooms["invited"])
    # Redact their own events.
    (await alice.put(room_path(shared, "redact", rooms["own"], "t2"), {})).ok()
    # Log out or delete any device of theirs.
    delete = {"auth": password_of(alice)}
    (await alice.delete(path_of("devices", third["device_id"]), delete)).ok()
    (await second.post(path_of("logout"))).ok()
    # What nobody else sees.
    (await alice.put(path_of("user", alice.user_id, "account_data", "org.example"), {"a": 1})).ok()
    (await alice.post(room_path(shared, "receipt", "m.read.private", rooms["theirs"]))).ok()
    password = {"new_password": "changed", "auth": password_of(alice)}
    (await alice.post(path_of("account", "password"), password)).ok()
    await alice.leave(shared)
    # Deactivate their account.
    (await alice.post(path_of("account", "deactivate"), {"auth": password_of(alice, "changed")})).ok()
