"""Rooms that are replaced, as users of another server see it."""

from typing import Any

import pytest

from tests.api.server import Client, path_of, room_path
from tests.federation.conftest import Two
from tests.federation.harness import until


@pytest.mark.parametrize("version", ["11", "12"])
async def test_who_follows_from_another_server(two: Two, version: str) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    carol = await two.other.user("carol")
    via = {"via": two.one.server_name}
    room = await alice.create_room(preset="public_chat", room_version="10")
    for client in (bob, carol):
        (await client.request("POST", path_of("join", room), {}, query=via)).ok()
        tag = path_of("user", client.user_id, "rooms", room, "tags", "u.mine")
        (await client.put(tag, {})).ok()
    body = {"new_version": version, "additional_creators": [bob.user_id]}
    new = (await alice.post(room_path(room, "upgrade"), body)).ok()["replacement_room"]

    async def tombstone(client: Client = bob) -> Any:
        answer = await client.get(room_path(room, "state", "m.room.tombstone", ""))
        return answer.json.get("replacement_room") if answer.status == 200 else None

    assert await until(tombstone, what="the tombstone") == new
    # The first to come by way of the other server, the second in a room that is here.
    for client in (bob, carol):
        (await client.request("POST", path_of("join", new), {}, query=via)).ok()
        tags = (await client.get(path_of("user", client.user_id, "rooms", new, "tags"))).ok()["tags"]
        assert tags == {"u.mine": {}}
    rename = await bob.put(room_path(new, "state", "m.room.name", ""), {"name": "Bob's"})
    assert rename.status == (200 if version == "12" else 403)
