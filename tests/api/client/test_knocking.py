"""Client-server API, `knocking.yaml`."""

import pytest

from tests.api.server import SERVER_NAME, Client, path_of, room_path


async def knockable(client: Client, version: str = "12") -> str:
    return await client.create_room(
        room_version=version,
        room_alias_name="door",
        initial_state=[{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}],
    )


@pytest.mark.parametrize("version", ["7", "10", "12"])
async def test_who_knocks_may_be_let_in(alice: Client, bob: Client, version: str) -> None:
    room = await knockable(alice, version)
    (await bob.post(path_of("join", room))).error(403, "M_FORBIDDEN")
    assert (await bob.post(path_of("knock", f"#door:{SERVER_NAME}"), {"reason": "please"})).ok() == {
        "room_id": room
    }
    assert (await bob.post(path_of("knock", room))).ok() == {"room_id": room}
    assert room in (await bob.sync())["rooms"]["knock"]
    member = (await alice.get(room_path(room, "state", "m.room.member", bob.user_id))).ok()
    assert member == {"membership": "knock", "displayname": "bob", "reason": "please"}
    await alice.invite(room, bob.user_id)
    await bob.join(room)


async def test_a_knock_is_taken_back_or_turned_down(alice: Client, bob: Client) -> None:
    room = await knockable(alice)
    (await bob.post(path_of("knock", room))).ok()
    await bob.leave(room)
    (await bob.post(path_of("knock", room))).ok()
    (await alice.post(room_path(room, "kick"), {"user_id": bob.user_id})).ok()
    assert (await bob.sync()).get("rooms", {}).get("knock", {}) == {}


async def test_who_cannot_knock(alice: Client, bob: Client, carol: Client) -> None:
    room = await knockable(alice)
    (await alice.post(path_of("knock", room))).error(403, "M_FORBIDDEN")
    await alice.invite(room, bob.user_id)
    (await bob.post(path_of("knock", room))).error(403, "M_FORBIDDEN")
    (await alice.post(room_path(room, "ban"), {"user_id": carol.user_id})).ok()
    (await carol.post(path_of("knock", room))).error(403, "M_FORBIDDEN")


async def test_rooms_without_a_door_to_knock_on(alice: Client, bob: Client) -> None:
    for options in ({"preset": "public_chat"}, {"preset": "private_chat"}, {"room_version": "6"}):
        (await bob.post(path_of("knock", await alice.create_room(**options)))).error(403, "M_FORBIDDEN")
    (await bob.post(path_of("knock", "!nowhere:test.example"))).error(404, "M_NOT_FOUND")
