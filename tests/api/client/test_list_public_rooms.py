"""Client-server API, `list_public_rooms.yaml`."""

from pathlib import Path
from typing import Any

import pytest

from homeserver.services.public_rooms import FRESH_MS
from tests.api.server import SERVER_NAME, Client, TestServer, path_of, room_path, running_server
from tests.openapi import Specification

ROOMS = path_of("publicRooms")


def names(answer: Any) -> list[str]:
    return [room.get("name", "") for room in answer["chunk"]]


async def visibility(client: Client, room: str) -> Any:
    return (await client.get(path_of("directory", "list", "room", room))).ok()["visibility"]


async def test_the_directory_tells_what_the_room_says_of_itself(server: TestServer, alice: Client) -> None:
    room = await alice.create_room(
        visibility="public",
        name="The Pub",
        topic="Beer",
        room_alias_name="pub",
        creation_content={"type": "m.space"},
        initial_state=[
            {"type": "m.room.avatar", "content": {"url": "mxc://a/b"}},
            {"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}},
            {"type": "m.room.guest_access", "content": {"guest_access": "can_join"}},
        ],
    )
    bare = await alice.create_room(visibility="public", preset="private_chat")
    await alice.create_room(preset="public_chat", name="not listed")
    answer = (await server.anonymous().get(ROOMS)).ok()
    assert answer["total_room_count_estimate"] == 2
    assert "next_batch" not in answer
    assert "prev_batch" not in answer
    found = {entry["room_id"]: entry for entry in answer["chunk"]}
    assert found[room] == {
        "room_id": room,
        "name": "The Pub",
        "topic": "Beer",
        "canonical_alias": f"#pub:{SERVER_NAME}",
        "avatar_url": "mxc://a/b",
        "room_type": "m.space",
        "join_rule": "public",
        "guest_can_join": True,
        "world_readable": True,
        "num_joined_members": 1,
    }
    assert found[bare] == {
        "room_id": bare,
        "join_rule": "invite",
        "guest_can_join": True,
        "world_readable": False,
        "num_joined_members": 1,
    }


async def test_changes_are_seen(alice: Client) -> None:
    room = await alice.create_room(visibility="public", name="Old")
    assert names((await alice.get(ROOMS)).ok()) == ["Old"]
    await alice.set_state(room, "m.room.name", {"name": "New"})
    assert names((await alice.get(ROOMS)).ok()) == ["New"]
    await alice.leave(room)
    assert names((await alice.get(ROOMS)).ok()) == []


async def test_pages_lead_forwards_and_back(alice: Client, bob: Client) -> None:
    made = [await alice.create_room(visibility="public", name=f"room {n}") for n in range(7)]
    for large in (made[2], made[5]):
        await bob.join(large)
    everything = names((await alice.get(ROOMS)).ok())
    assert everything == ["room 5", "room 2", "room 6", "room 4", "room 3", "room 1", "room 0"]
    first = (await alice.get(ROOMS, limit=3)).ok()
    second = (await alice.get(ROOMS, limit=3, since=first["next_batch"])).ok()
    third = (await alice.get(ROOMS, limit=3, since=second["next_batch"])).ok()
    assert names(first) + names(second) + names(third) == everything
    assert "prev_batch" not in first
    assert "next_batch" not in third
    back = (await alice.get(ROOMS, limit=3, since=third["prev_batch"])).ok()
    assert names(back) == names(second)
    start = (await alice.get(ROOMS, limit=3, since=back["prev_batch"])).ok()
    assert names(start) == names(first)
    assert "prev_batch" not in start
    assert names((await alice.get(ROOMS, limit=3, since=start["next_batch"])).ok()) == names(second)


async def search(client: Client, **body: object) -> Any:
    return (await client.post(ROOMS, body)).ok()


async def test_searching(alice: Client) -> None:
    await alice.create_room(visibility="public", name="Grand Duke")
    await alice.create_room(visibility="public", name="two", topic="all about dukes")
    await alice.create_room(visibility="public", name="three", room_alias_name="dukedom")
    await alice.create_room(visibility="public", name="ÉTÉ", creation_content={"type": "m.space"})
    assert set(names(await search(alice, filter={"generic_search_term": "DUKE"}))) == {
        "Grand Duke",
        "two",
        "three",
    }
    assert names(await search(alice, filter={"generic_search_term": "été"})) == ["ÉTÉ"]
    assert names(await search(alice, filter={"generic_search_term": "%"})) == []
    assert len(names(await search(alice, filter={"generic_search_term": ""}))) == 4
    assert names(await search(alice, filter={"room_types": ["m.space"]})) == ["ÉTÉ"]
    assert len(names(await search(alice, filter={"room_types": [None]}))) == 3
    assert len(names(await search(alice, filter={"room_types": [None, "m.space"]}))) == 4
    assert names(await search(alice, filter={"room_types": []})) == []
    assert names(await search(alice, filter={"room_types": ["m.space"], "generic_search_term": "duke"})) == []
    assert len(names(await search(alice))) == 4


async def test_pages_of_what_was_found(alice: Client) -> None:
    for number in range(9):
        await alice.create_room(visibility="public", name=f"{'odd' if number % 2 else 'even'} {number}")
    found: list[str] = []
    more: dict[str, object] = {}
    for _ in range(3):
        page = await search(alice, limit=2, filter={"generic_search_term": "even"}, **more)
        found += names(page)
        if "next_batch" not in page:
            break
        more = {"since": page["next_batch"]}
    assert found == ["even 8", "even 6", "even 4", "even 2", "even 0"]


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": -1}, {"limit": "many"}, {"since": "s5"}, {"since": "n1-x"}]
)
async def test_malformed_questions(alice: Client, query: dict[str, object]) -> None:
    (await alice.get(ROOMS, **query)).error(400, "M_INVALID_PARAM")


async def test_a_server_that_cannot_be_asked(alice: Client) -> None:
    """What others answer: see tests/federation/test_remote_lookups.py."""
    (await alice.get(ROOMS, server="127.0.0.1:1")).error(502, "M_UNKNOWN")
    (await alice.post(ROOMS, {}, server="127.0.0.1:1")).error(502, "M_UNKNOWN")
    (await alice.get(ROOMS, server="no server")).error(400, "M_INVALID_PARAM")
    assert (await alice.get(ROOMS, server=SERVER_NAME)).ok()["chunk"] == []


async def test_networks(alice: Client) -> None:
    await alice.create_room(visibility="public")
    assert len((await search(alice, include_all_networks=True))["chunk"]) == 1
    assert (await search(alice, third_party_instance_id="irc"))["chunk"] == []
    both = {"third_party_instance_id": "irc", "include_all_networks": True}
    (await alice.post(ROOMS, both)).error(400, "M_INVALID_PARAM")


async def test_searching_needs_a_token(server: TestServer) -> None:
    (await server.anonymous().post(ROOMS)).error(401, "M_MISSING_TOKEN")


async def test_who_may_list_a_room(server: TestServer, alice: Client, bob: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    path = path_of("directory", "list", "room", room)
    (await bob.put(path, {"visibility": "public"})).error(403, "M_FORBIDDEN")
    await bob.join(room)
    (await bob.put(path, {"visibility": "public"})).error(403, "M_FORBIDDEN")
    assert await visibility(server.anonymous(), room) == "private"
    (await alice.put(path, {})).ok()
    assert await visibility(server.anonymous(), room) == "public"
    (await alice.put(path, {"visibility": "public"})).ok()
    (await bob.put(path, {"visibility": "private"})).error(403, "M_FORBIDDEN")
    admin = await server.user("admin", admin=True)
    (await admin.put(path, {"visibility": "private"})).ok()
    assert await visibility(bob, room) == "private"
    (await alice.request("PUT", path, {"visibility": "hidden"})).error(400, "M_BAD_JSON")


async def test_the_visibility_of_unknown_rooms(alice: Client) -> None:
    path = path_of("directory", "list", "room", "!nowhere:test.example")
    (await alice.get(path)).error(404, "M_NOT_FOUND")
    (await alice.put(path, {"visibility": "public"})).error(404, "M_NOT_FOUND")


class SlowClock:
    """Stands still, for summaries to grow old only when a test wants it."""

    def __init__(self) -> None:
        self.ts = 1_700_000_000_000

    def now_ts(self) -> int:
        return self.ts

    def monotonic_ms(self) -> int:
        return self.ts


async def test_a_redacted_name_is_gone_from_the_directory_in_half_a_minute(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    """Summaries are kept by state, which a redaction does not change."""
    clock = SlowClock()
    async with running_server(database_url, tmp_path, specification, clock=clock) as server:
        alice = await server.user("alice")
        room = await alice.create_room(visibility="public", name="rude")
        assert names((await alice.get(ROOMS)).ok()) == ["rude"]
        state = (await alice.get(room_path(room, "state"))).ok()
        (named,) = (event["event_id"] for event in state if event["type"] == "m.room.name")
        (await alice.put(room_path(room, "redact", named, "1"), {})).ok()
        clock.ts += FRESH_MS
        assert names((await alice.get(ROOMS)).ok()) == [""]
