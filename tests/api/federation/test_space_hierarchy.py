"""Server-server API, `space_hierarchy.yaml`."""

from typing import Any

import pytest

from homeserver.core.identifiers import RoomID, UserID
from tests.api.federation.asking import Asking
from tests.api.server import Client
from tests.room_stories import Story


@pytest.fixture
async def alice(asking: Asking) -> Client:
    return await asking.server.user("alice")


async def space_of(alice: Client, children: dict[str, Any], **options: Any) -> str:
    """A public space with these `m.space.child` events."""
    space = await alice.create_room(
        preset="public_chat", creation_content={"type": "m.space"}, name="Space", **options
    )
    for room_id, content in children.items():
        await alice.set_state(space, "m.space.child", content, room_id)
    return space


async def test_a_space_and_its_children(asking: Asking, alice: Client) -> None:
    via = {"via": [asking.server.server_name]}
    public = await alice.create_room(preset="public_chat", name="Public")
    private = await alice.create_room(preset="private_chat", name="Private")
    children = {
        public: {**via, "order": "b", "suggested": True},
        private: {**via, "order": "a"},
        "!elsewhere:example.org": {**via, "order": "c"},
        "!invalid:example.org": {"via": []},
        "no room": via,
    }
    space = await space_of(alice, children)
    found = (await asking.get("hierarchy", space)).ok()
    assert found["room"]["room_id"] == space
    assert found["room"]["room_type"] == "m.space"
    assert found["room"]["num_joined_members"] == 1
    listed = [child["state_key"] for child in found["room"]["children_state"]]
    assert listed == [private, public, "!elsewhere:example.org"]
    assert found["room"]["children_state"][1]["content"] == children[public]
    assert set(found["room"]["children_state"][1]) == {
        "type", "state_key", "sender", "content", "origin_server_ts",
    }  # fmt: skip
    assert [child["name"] for child in found["children"]] == ["Public"]
    assert found["inaccessible_children"] == [private]
    suggested = (await asking.get("hierarchy", space, suggested_only="true")).ok()
    assert [child["state_key"] for child in suggested["room"]["children_state"]] == [public]
    assert suggested["inaccessible_children"] == []


async def test_a_room_that_is_no_space_has_no_children(asking: Asking, alice: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    await alice.set_state(room, "m.space.child", {"via": ["x"]}, "!child:x")
    found = (await asking.get("hierarchy", room)).ok()
    assert found["room"]["children_state"] == []
    assert found["children"] == []


async def test_a_room_that_the_server_could_not_enter(asking: Asking, alice: Client) -> None:
    room = await alice.create_room(preset="private_chat")
    (await asking.get("hierarchy", room)).error(404, "M_NOT_FOUND")
    (await asking.get("hierarchy", "!nowhere:example.org")).error(404, "M_NOT_FOUND")
    story = Story(asking.database, asking.owner, RoomID(room))
    await story.member(asking.user("bob"), "invite", by=UserID(alice.user_id))
    (await asking.get("hierarchy", room)).ok()
    await story.member(asking.user("bob"), "join")
    (await asking.get("hierarchy", room)).ok()


async def entered(asking: Asking, alice: Client, join_rules: dict[str, Any], **options: Any) -> Any:
    room = await alice.create_room(
        preset="private_chat",
        initial_state=[{"type": "m.room.join_rules", "content": join_rules}],
        **options,
    )
    return await asking.get("hierarchy", room)


async def test_what_the_join_rules_let_a_server_enter(asking: Asking, alice: Client) -> None:
    upstream = await alice.create_room(preset="public_chat")
    allow = [{"type": "m.room_membership", "room_id": upstream}]
    restricted = {"join_rule": "restricted", "allow": allow}
    (await entered(asking, alice, {"join_rule": "knock"})).ok()
    (await entered(asking, alice, {"join_rule": "knock_restricted", "allow": allow})).ok()
    (await entered(asking, alice, {"join_rule": "invite"})).error(404, "M_NOT_FOUND")
    (await entered(asking, alice, restricted)).error(404, "M_NOT_FOUND")
    await Story(asking.database, asking.owner, RoomID(upstream)).member(asking.user("bob"), "join")
    found = (await entered(asking, alice, restricted)).ok()
    assert found["room"]["allowed_room_ids"] == [upstream]
    assert found["room"]["join_rule"] == "restricted"


async def test_a_server_that_is_refused_enters_nothing(asking: Asking, alice: Client) -> None:
    room = await alice.create_room(preset="public_chat")
    (await asking.get("hierarchy", room)).ok()
    await Story(asking.database, UserID(alice.user_id), RoomID(room)).set(
        "m.room.server_acl", {"allow": ["elsewhere.example"]}
    )
    (await asking.get("hierarchy", room)).error(404, "M_NOT_FOUND")


async def test_encrypted_rooms_say_so(asking: Asking, alice: Client) -> None:
    room = await alice.create_room(preset="public_chat", room_version="11")
    algorithm = "m.megolm.v1.aes-sha2"
    await alice.set_state(room, "m.room.encryption", {"algorithm": algorithm})
    found = (await asking.get("hierarchy", room)).ok()["room"]
    assert found["encryption"] == algorithm
    assert found["room_version"] == "11"
