"""Client-server API, `room_summary.yaml`."""

from typing import Any

from tests.api.server import SERVER_NAME, Answer, Client, TestServer, path_of


async def ask(client: Client, room: str, **query: object) -> Answer:
    return await client.get(path_of("room_summary", room, version="v1"), **query)


async def test_what_a_room_is(server: TestServer, alice: Client, bob: Client) -> None:
    room = await alice.create_room(
        preset="public_chat",
        name="The Pub",
        topic="Beer",
        room_alias_name="pub",
        room_version="11",
        initial_state=[{"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}],
    )
    expected: dict[str, Any] = {
        "room_id": room,
        "name": "The Pub",
        "topic": "Beer",
        "canonical_alias": f"#pub:{SERVER_NAME}",
        "join_rule": "public",
        "guest_can_join": False,
        "world_readable": False,
        "num_joined_members": 1,
        "encryption": "m.megolm.v1.aes-sha2",
        "room_version": "11",
    }
    assert (await ask(server.anonymous(), room)).ok() == expected
    assert (await ask(bob, room)).ok() == expected | {"membership": "leave"}
    assert (await ask(alice, f"#pub:{SERVER_NAME}")).ok() == expected | {"membership": "join"}


async def test_what_is_not_public(server: TestServer, alice: Client, bob: Client, guest: Client) -> None:
    room = await alice.create_room(preset="private_chat", name="Private")
    strangers = (server.anonymous(), bob, guest)
    for client in strangers:
        (await ask(client, room)).error(404, "M_NOT_FOUND")
    await alice.invite(room, bob.user_id)
    assert (await ask(bob, room)).ok()["membership"] == "invite"
    assert (await ask(alice, room)).ok()["name"] == "Private"
    await alice.set_state(room, "m.room.join_rules", {"join_rule": "knock"})
    assert "membership" not in (await ask(server.anonymous(), room)).ok()
    (await bob.post(path_of("rooms", room, "leave"))).ok()
    (await bob.post(path_of("knock", room))).ok()
    assert (await ask(bob, room)).ok()["membership"] == "knock"
    await alice.set_state(room, "m.room.join_rules", {"join_rule": "invite"})
    await alice.set_state(room, "m.room.history_visibility", {"history_visibility": "world_readable"})
    assert (await ask(server.anonymous(), room)).ok()["world_readable"] is True


async def test_what_is_not_there(server: TestServer, alice: Client) -> None:
    for client in (server.anonymous(), alice):
        (await ask(client, "!nowhere")).error(404, "M_NOT_FOUND")
        (await ask(client, f"!nowhere:{SERVER_NAME}", via=SERVER_NAME)).error(404, "M_NOT_FOUND")
        (await ask(client, f"#nowhere:{SERVER_NAME}")).error(404, "M_NOT_FOUND")
        (await ask(client, "nothing")).error(400, "M_INVALID_PARAM")
        (await ask(client, "!room", via="no server name")).error(400, "M_INVALID_PARAM")
        (await ask(client, "#no alias")).error(400, "M_INVALID_PARAM")
