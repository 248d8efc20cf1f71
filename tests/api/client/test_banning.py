"""Client-server API, `banning.yaml`."""

from typing import Any

from tests.api.server import Client, room_path


async def do(client: Client, what: str, room: str, user_id: str, **more: object) -> Any:
    return await client.post(room_path(room, what), {"user_id": user_id, **more})


async def membership(client: Client, room: str, user_id: str) -> Any:
    return (await client.get(room_path(room, "state", "m.room.member", user_id))).ok()["membership"]


async def test_a_ban_lasts_until_it_is_lifted(alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    (await do(alice, "ban", room, bob.user_id, reason="spam")).ok()
    assert await membership(alice, room, bob.user_id) == "ban"
    (await bob.post(room_path(room, "join"))).error(403, "M_FORBIDDEN")
    (await do(alice, "invite", room, bob.user_id)).error(403, "M_FORBIDDEN")
    (await do(alice, "unban", room, bob.user_id, reason="enough")).ok()
    assert await membership(alice, room, bob.user_id) == "leave"
    await bob.join(room)


async def test_strangers_can_be_banned_too(alice: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    (await do(alice, "ban", room, "@spam:elsewhere.example")).ok()
    assert await membership(alice, room, "@spam:elsewhere.example") == "ban"
    (await do(alice, "unban", room, "@spam:elsewhere.example")).ok()


async def test_who_cannot_ban(alice: Client, bob: Client, carol: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    (await do(bob, "ban", room, carol.user_id)).error(403, "M_FORBIDDEN")
    await bob.join(room)
    (await do(bob, "ban", room, carol.user_id)).error(403, "M_FORBIDDEN")
    (await do(bob, "ban", room, alice.user_id)).error(403, "M_FORBIDDEN")
    (await do(alice, "ban", room, alice.user_id)).error(403, "M_FORBIDDEN")


async def test_who_cannot_lift_a_ban(alice: Client, bob: Client, carol: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    (await do(alice, "ban", room, carol.user_id)).ok()
    (await do(carol, "unban", room, carol.user_id)).error(403, "M_FORBIDDEN")
    (await do(bob, "unban", room, carol.user_id)).error(403, "M_FORBIDDEN")
    assert await membership(alice, room, carol.user_id) == "ban"


async def test_a_ban_that_is_not_there_cannot_be_lifted(alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    (await do(alice, "unban", room, bob.user_id)).error(403, "M_BAD_STATE")
    await bob.join(room)
    (await do(alice, "unban", room, bob.user_id)).error(403, "M_BAD_STATE")
    assert await membership(alice, room, bob.user_id) == "join"
