"""Client-server API, `kicking.yaml`."""

from typing import Any

import pytest

from tests.api.server import Client, room_path


async def kick(client: Client, room: str, user_id: str, **more: object) -> Any:
    return await client.post(room_path(room, "kick"), {"user_id": user_id, **more})


async def test_the_kicked_are_out_and_may_come_back(alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    (await kick(alice, room, bob.user_id, reason="bad jokes")).ok()
    member = (await alice.get(room_path(room, "state", "m.room.member", bob.user_id))).ok()
    assert member == {"membership": "leave", "displayname": "bob", "reason": "bad jokes"}
    (await bob.put(room_path(room, "send", "m.room.message", "1"), {})).error(403, "M_FORBIDDEN")
    await bob.join(room)


async def test_invitations_are_taken_back_by_kicking(alice: Client, bob: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    (await kick(alice, room, bob.user_id)).ok()
    (await bob.post(room_path(room, "join"))).error(403, "M_FORBIDDEN")


async def test_who_cannot_kick(alice: Client, bob: Client, carol: Client) -> None:
    room = await alice.create_room(room_version="11", preset="public_chat")
    await carol.join(room)
    (await kick(bob, room, carol.user_id)).error(403, "M_FORBIDDEN")  # not in the room
    await bob.join(room)
    (await kick(bob, room, carol.user_id)).error(403, "M_FORBIDDEN")  # no power
    levels = (await alice.get(room_path(room, "state", "m.room.power_levels", ""))).ok()
    levels["users"].update({bob.user_id: 50, carol.user_id: 50})
    await alice.set_state(room, "m.room.power_levels", levels)
    (await kick(bob, room, carol.user_id)).error(403, "M_FORBIDDEN")  # no more power than the other
    (await kick(alice, room, carol.user_id)).ok()


async def test_who_cannot_be_kicked(alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    (await kick(alice, room, bob.user_id)).error(403, "M_FORBIDDEN")
    await bob.join(room)
    await bob.leave(room)
    (await kick(alice, room, bob.user_id)).error(403, "M_FORBIDDEN")
    (await alice.post(room_path(room, "ban"), {"user_id": bob.user_id})).ok()
    (await kick(alice, room, bob.user_id)).error(403, "M_FORBIDDEN")
    member = (await alice.get(room_path(room, "state", "m.room.member", bob.user_id))).ok()
    assert member["membership"] == "ban"


@pytest.mark.parametrize(("body", "errcode"), [({}, "M_BAD_JSON"), ({"user_id": "bob"}, "M_INVALID_PARAM")])
async def test_malformed_kicks(alice: Client, body: Any, errcode: str) -> None:
    room = await alice.create_room()
    (await alice.post(room_path(room, "kick"), body)).error(400, errcode)
