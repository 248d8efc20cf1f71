"""Client-server API, `inviting.yaml`, and "Invite permission"."""

from typing import Any

import pytest

from tests.api.server import Client, path_of, room_path


async def invite(client: Client, room: str, user_id: str, **more: object) -> Any:
    return await client.post(room_path(room, "invite"), {"user_id": user_id, **more})


async def test_the_invited_see_the_invitation_and_may_accept_it(alice: Client, bob: Client) -> None:
    room = await alice.create_room(name="Secret")
    (await invite(alice, room, bob.user_id, reason="come in")).ok()
    stripped = (await bob.sync())["rooms"]["invite"][room]["invite_state"]["events"]
    assert {"m.room.create", "m.room.name", "m.room.join_rules"} <= {event["type"] for event in stripped}
    assert stripped[-1]["content"] == {"membership": "invite", "displayname": "bob", "reason": "come in"}
    assert stripped[-1]["sender"] == alice.user_id
    await bob.join(room)


async def test_inviting_again_changes_nothing(alice: Client, bob: Client, carol: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id, carol.user_id])
    await carol.join(room)
    since = (await bob.sync())["next_batch"]
    (await invite(alice, room, bob.user_id, reason="once more")).ok()
    (await invite(carol, room, bob.user_id)).ok()
    assert "rooms" not in await bob.sync(since)


async def test_who_cannot_invite(alice: Client, bob: Client, carol: Client) -> None:
    room = await alice.create_room(
        preset="public_chat", power_level_content_override={"invite": 50}, invite=[carol.user_id]
    )
    (await invite(bob, room, carol.user_id)).error(403, "M_FORBIDDEN")  # not in the room, and invited already
    await bob.join(room)
    (await invite(bob, room, carol.user_id)).error(403, "M_FORBIDDEN")  # in the room, without the power
    await carol.leave(room)
    (await invite(bob, room, carol.user_id)).error(403, "M_FORBIDDEN")
    (await invite(alice, room, carol.user_id)).ok()


async def test_who_cannot_be_invited(alice: Client, bob: Client, carol: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    (await alice.post(room_path(room, "ban"), {"user_id": carol.user_id})).ok()
    for user_id in (bob.user_id, carol.user_id, alice.user_id):
        (await invite(alice, room, user_id)).error(403, "M_FORBIDDEN")


async def test_a_server_that_cannot_be_reached(alice: Client) -> None:
    room = await alice.create_room()
    (await invite(alice, room, "@dave:127.0.0.1:9")).error(502, "M_UNKNOWN")
    assert (await alice.get(room_path(room, "state", "m.room.member", "@dave:127.0.0.1:9"))).status == 404


@pytest.mark.parametrize(
    ("body", "status", "errcode"),
    [
        ({}, 400, "M_BAD_JSON"),
        ({"user_id": 5}, 400, "M_BAD_JSON"),
        ({"user_id": "bob"}, 400, "M_INVALID_PARAM"),
        ({"id_server": "id.example", "id_access_token": "t"}, 400, "M_MISSING_PARAM"),
        ({"medium": "email", "address": "a@b.c"}, 400, "M_MISSING_PARAM"),
        ({"id_server": "id.example", "medium": "email", "address": "a@b.c"}, 400, "M_INVALID_PARAM"),
    ],
)
async def test_malformed_invitations(alice: Client, body: Any, status: int, errcode: str) -> None:
    room = await alice.create_room()
    (await alice.post(room_path(room, "invite"), body)).error(status, errcode)


async def test_invitations_to_nowhere(alice: Client, bob: Client) -> None:
    (await invite(alice, "!nowhere:test.example", bob.user_id)).error(404, "M_NOT_FOUND")


async def test_who_blocks_invitations_is_not_shown_those_that_there_are(alice: Client, bob: Client) -> None:
    """ "Invite permission": "already in the database [...] MUST NOT be served"."""
    room = await alice.create_room()
    before = (await bob.sync())["next_batch"]
    await alice.invite(room, bob.user_id)
    config = path_of("user", bob.user_id, "account_data", "m.invite_permission_config")

    async def shown() -> list[bool]:
        answers = [
            await bob.sync(),
            await bob.sync(before),
            await bob.sync(before, full_state="true"),
        ]
        listed = (await bob.get(path_of("initialSync"))).ok()["rooms"]
        events = (await bob.get(path_of("events"), **{"from": before, "timeout": 0})).ok()["chunk"]
        return [
            *(room in answer.get("rooms", {}).get("invite", {}) for answer in answers),
            room in [each["room_id"] for each in listed],
            room in [each["room_id"] for each in events if "room_id" in each],
        ]

    assert await shown() == [True] * 5
    (await bob.put(config, {"default_action": "block"})).ok()
    assert await shown() == [False] * 5
    # Other endpoints are not affected.
    member = (await alice.get(room_path(room, "state", "m.room.member", bob.user_id))).ok()
    assert member["membership"] == "invite"
    (await bob.put(config, {})).ok()
    assert await shown() == [True] * 5
    await bob.join(room)


async def test_who_blocks_invitations_gets_none(alice: Client, bob: Client) -> None:
    room = await alice.create_room()
    outside = await bob.create_room()
    config = path_of("user", bob.user_id, "account_data", "m.invite_permission_config")
    (await bob.put(config, {"default_action": "block"})).ok()
    since = (await bob.sync())["next_batch"]
    (await invite(alice, room, bob.user_id)).error(403, "M_INVITE_BLOCKED")
    state = room_path(room, "state", "m.room.member", bob.user_id)
    (await alice.put(state, {"membership": "invite"})).error(403, "M_INVITE_BLOCKED")
    assert "rooms" not in await bob.sync(since)
    # Who may not invite learns nothing of it.
    (await invite(alice, outside, bob.user_id)).error(403, "M_FORBIDDEN")
    (await bob.put(config, {"default_action": "something else"})).ok()
    (await invite(alice, room, bob.user_id)).ok()


async def test_who_was_invited_before_may_block_invitations_as_well(alice: Client, bob: Client) -> None:
    room = await alice.create_room()
    await alice.invite(room, bob.user_id)
    config = path_of("user", bob.user_id, "account_data", "m.invite_permission_config")
    (await bob.put(config, {"default_action": "block"})).ok()
    (await invite(alice, room, bob.user_id)).error(403, "M_INVITE_BLOCKED")
    # Who may not invite learns nothing of it.
    (await invite(bob, room, bob.user_id)).error(403, "M_FORBIDDEN")
    (await bob.put(config, {})).ok()
    (await invite(alice, room, bob.user_id)).ok()
