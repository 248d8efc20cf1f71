"""Client-server API, `directory.yaml`."""

from typing import Any

import pytest

from tests.api.server import SERVER_NAME, Client, TestServer, path_of, room_path

ALIAS = f"#pub:{SERVER_NAME}"


def at(alias: str) -> str:
    return path_of("directory", "room", alias)


async def canonical(client: Client, room: str) -> Any:
    return (await client.get(room_path(room, "state", "m.room.canonical_alias", ""))).ok()


async def test_an_alias_leads_to_its_room_for_everybody(server: TestServer, alice: Client) -> None:
    room = await alice.create_room()
    (await alice.put(at(ALIAS), {"room_id": room})).ok()
    found = (await server.anonymous().get(at(ALIAS))).ok()
    assert found == {"room_id": room, "servers": [SERVER_NAME]}
    assert (await alice.get(room_path(room, "aliases"))).ok() == {"aliases": [ALIAS]}


async def test_an_alias_is_taken_until_it_is_deleted(alice: Client, bob: Client) -> None:
    """Nobody moves an alias: not by setting it again, not by deleting that of another."""
    room = await alice.create_room()
    other = await bob.create_room()
    (await alice.put(at(ALIAS), {"room_id": room})).ok()
    (await bob.put(at(ALIAS), {"room_id": other})).error(409, "M_UNKNOWN")
    (await alice.put(at(ALIAS), {"room_id": room})).error(409, "M_UNKNOWN")
    (await bob.delete(at(ALIAS))).error(403, "M_FORBIDDEN")
    assert (await alice.get(at(ALIAS))).ok()["room_id"] == room
    (await alice.delete(at(ALIAS))).ok()
    (await alice.get(at(ALIAS))).error(404, "M_NOT_FOUND")
    (await alice.delete(at(ALIAS))).error(404, "M_NOT_FOUND")
    (await bob.put(at(ALIAS), {"room_id": other})).ok()


@pytest.mark.parametrize(
    ("alias", "status", "errcode"),
    [
        ("#pub:elsewhere.example", 400, "M_INVALID_PARAM"),
        ("pub:test.example", 400, "M_INVALID_PARAM"),
        ("#pub", 400, "M_INVALID_PARAM"),
        ("#:test.example", 400, "M_INVALID_PARAM"),
        ("#the pub:test.example", 400, "M_INVALID_PARAM"),
        ("#a\nb:test.example", 400, "M_INVALID_PARAM"),
        ("#" + "x" * 250 + ":test.example", 400, "M_INVALID_PARAM"),
    ],
)
async def test_aliases_that_cannot_be(alice: Client, alias: str, status: int, errcode: str) -> None:
    room = await alice.create_room()
    (await alice.put(at(alias), {"room_id": room})).error(status, errcode)


@pytest.mark.parametrize("localpart", ["é😀👩‍👩‍👧", "a#b", "UPPER", "a/b%c?d"])
async def test_aliases_that_can_be(alice: Client, localpart: str) -> None:
    room = await alice.create_room()
    alias = f"#{localpart}:{SERVER_NAME}"
    (await alice.put(at(alias), {"room_id": room})).ok()
    assert (await alice.get(at(alias))).ok()["room_id"] == room
    assert (await alice.post(path_of("join", alias))).ok()["room_id"] == room


async def test_only_members_name_a_room(alice: Client, bob: Client) -> None:
    room = await alice.create_room(invite=[bob.user_id])
    (await bob.put(at(ALIAS), {"room_id": room})).error(403, "M_FORBIDDEN")
    (await alice.put(at(ALIAS), {"room_id": "!nowhere:test.example"})).error(404, "M_NOT_FOUND")
    (await alice.put(at(ALIAS), {"room_id": "nowhere"})).error(400, "M_INVALID_PARAM")
    (await alice.request("PUT", at(ALIAS), {})).error(400, "M_BAD_JSON")
    await bob.join(room)
    (await bob.put(at(ALIAS), {"room_id": room})).ok()


async def test_who_may_delete_an_alias(server: TestServer, alice: Client, bob: Client, carol: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    await carol.join(room)
    admin = await server.user("admin", admin=True)
    for allowed in (bob, alice, admin):  # who made it, who has the power, who runs the server
        (await bob.put(at(ALIAS), {"room_id": room})).ok()
        (await carol.delete(at(ALIAS))).error(403, "M_FORBIDDEN")
        (await allowed.delete(at(ALIAS))).ok()
    # Power alone, without being in the room, is none.
    (await bob.put(at(ALIAS), {"room_id": room})).ok()
    await alice.leave(room)
    (await alice.delete(at(ALIAS))).error(403, "M_FORBIDDEN")


async def test_deleting_an_alias_takes_it_from_the_canonical_ones(alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat", room_alias_name="pub")
    await bob.join(room)
    other = f"#other:{SERVER_NAME}"
    (await bob.put(at(other), {"room_id": room})).ok()
    await alice.set_state(room, "m.room.canonical_alias", {"alias": ALIAS, "alt_aliases": [other, ALIAS]})
    # Who has not the power to change the event can still delete an own alias.
    (await bob.delete(at(other))).ok()
    assert await canonical(alice, room) == {"alias": ALIAS, "alt_aliases": [other, ALIAS]}
    (await alice.delete(at(ALIAS))).ok()
    assert await canonical(alice, room) == {"alt_aliases": [other]}


async def test_who_may_list_aliases(alice: Client, bob: Client) -> None:
    room = await alice.create_room(room_alias_name="pub", invite=[bob.user_id])
    (await bob.get(room_path(room, "aliases"))).error(403, "M_FORBIDDEN")
    (await bob.get(room_path("!nowhere:test.example", "aliases"))).error(403, "M_FORBIDDEN")
    await alice.set_state(room, "m.room.history_visibility", {"history_visibility": "world_readable"})
    assert (await bob.get(room_path(room, "aliases"))).ok() == {"aliases": [ALIAS]}
    await alice.set_state(room, "m.room.history_visibility", {"history_visibility": "shared"})
    await bob.join(room)
    assert (await bob.get(room_path(room, "aliases"))).ok() == {"aliases": [ALIAS]}
    await bob.leave(room)
    (await bob.get(room_path(room, "aliases"))).error(403, "M_FORBIDDEN")


async def test_aliases_that_lead_nowhere(server: TestServer) -> None:
    (await server.anonymous().get(at("#nowhere:test.example"))).error(404, "M_NOT_FOUND")
    (await server.anonymous().get(at("#far:127.0.0.1:9"))).error(502, "M_UNKNOWN")
    (await server.anonymous().get(at("nowhere"))).error(400, "M_INVALID_PARAM")
    (await server.anonymous().put(at(ALIAS), {"room_id": "!a:b"})).error(401, "M_MISSING_TOKEN")
