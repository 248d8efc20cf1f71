"""Client-server API, `space_hierarchy.yaml`."""

from typing import Any

import pytest

from tests.api.server import SERVER_NAME, Answer, Client, TestServer, path_of

VIA = {"via": [SERVER_NAME]}


async def ask(client: Client, room: str, **query: object) -> Answer:
    return await client.get(path_of("rooms", room, "hierarchy", version="v1"), **query)


async def listed(client: Client, room: str, **query: object) -> list[str]:
    """The names of the rooms, or their IDs."""
    answer = (await ask(client, room, **query)).ok()
    return [entry.get("name", entry["room_id"]) for entry in answer["rooms"]]


async def pages(client: Client, room: str, **query: object) -> list[list[str]]:
    """The names on every page."""
    found = []
    answer = (await ask(client, room, **query)).ok()
    while True:
        found.append([entry["name"] for entry in answer["rooms"]])
        if "next_batch" not in answer:
            return found
        answer = (await ask(client, room, **query, **{"from": answer["next_batch"]})).ok()


async def new_room(client: Client, name: str, **options: Any) -> str:
    return await client.create_room(**{"preset": "public_chat", "name": name, **options})


async def new_space(client: Client, name: str, children: dict[str, Any], **options: Any) -> str:
    space = await new_room(client, name, creation_content={"type": "m.space"}, **options)
    for room_id, content in children.items():
        await client.set_state(space, "m.space.child", content, room_id)
    return space


def restricted_to(space: str) -> dict[str, Any]:
    rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": space}]}
    return {"initial_state": [{"type": "m.room.join_rules", "content": rule}]}


async def test_the_tree_comes_depth_first_in_its_order(alice: Client, bob: Client) -> None:
    deep = await new_room(alice, "deep")
    deeper = await new_space(alice, "deeper", {deep: VIA})
    rooms = {name: await new_room(alice, name) for name in ("b", "a", "late", "later")}
    space = await new_space(
        alice,
        "space",
        {
            rooms["late"]: VIA,
            rooms["later"]: {**VIA, "order": "\u00e9"},  # which is no valid order
            rooms["b"]: {**VIA, "order": "b"},
            deeper: {**VIA, "order": "aa", "suggested": True},
            rooms["a"]: {**VIA, "order": "a"},
            "!nowhere": VIA,
            "!removed:example.org": {},
        },
    )
    assert await listed(bob, space) == ["space", "a", "deeper", "deep", "b", "late", "later"]
    entries = (await ask(bob, space)).ok()["rooms"]
    assert entries[0] == {
        "room_id": space,
        "name": "space",
        "room_type": "m.space",
        "join_rule": "public",
        "guest_can_join": False,
        "world_readable": False,
        "num_joined_members": 1,
        "room_version": entries[0]["room_version"],
        "children_state": entries[0]["children_state"],
    }
    children = entries[0]["children_state"]
    assert [child["state_key"] for child in children] == [
        rooms["a"], deeper, rooms["b"], rooms["late"], rooms["later"], "!nowhere",
    ]  # fmt: skip
    assert set(children[0]) == {"type", "state_key", "sender", "content", "origin_server_ts"}
    assert children[0]["content"] == {**VIA, "order": "a"}
    assert entries[1]["children_state"] == []


async def test_depth_and_suggestions(alice: Client) -> None:
    deep, plain = await new_room(alice, "deep"), await new_room(alice, "plain")
    suggested = await new_space(alice, "suggested", {deep: {**VIA, "suggested": True}, plain: VIA})
    space = await new_space(
        alice, "space", {suggested: {**VIA, "suggested": True, "order": "a"}, plain: {**VIA, "order": "b"}}
    )
    assert await listed(alice, space, max_depth=0) == ["space"]
    assert await listed(alice, space, max_depth=1) == ["space", "suggested", "plain"]
    assert await listed(alice, space, max_depth=99) == ["space", "suggested", "deep", "plain"]
    assert await listed(alice, space, suggested_only="true") == ["space", "suggested", "deep"]
    entries = (await ask(alice, space, suggested_only="true", max_depth=1)).ok()["rooms"]
    assert [[child["state_key"] for child in entry["children_state"]] for entry in entries] == [
        [suggested],
        [deep],
    ]


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_pages(alice: Client, limit: int) -> None:
    inner = {await new_room(alice, f"inner {n}"): VIA for n in range(3)}
    space = await new_space(alice, "space", {await new_space(alice, "first", inner): VIA})
    for n in range(3):
        await alice.set_state(space, "m.space.child", VIA, await new_room(alice, f"outer {n}"))
    whole = ["space", "first", "inner 0", "inner 1", "inner 2", "outer 0", "outer 1", "outer 2"]
    found = await pages(alice, space, limit=limit)
    assert [name for page in found for name in page] == whole
    assert {len(page) for page in found[:-1]} <= {limit}
    assert len(found) == -(-len(whole) // limit)


async def test_pages_stay_where_they_are_while_the_space_changes(alice: Client) -> None:
    rooms = [await new_room(alice, f"room {n}") for n in range(4)]
    children = {room: {**VIA, "order": f"{n}"} for n, room in enumerate(rooms)}
    space = await new_space(alice, "space", children)
    first = (await ask(alice, space, limit=3)).ok()
    assert [entry["name"] for entry in first["rooms"]] == ["space", "room 0", "room 1"]
    await alice.set_state(space, "m.space.child", {}, rooms[1])
    await alice.set_state(space, "m.space.child", {**VIA, "order": "00"}, await new_room(alice, "before"))
    await alice.set_state(space, "m.space.child", {**VIA, "order": "25"}, await new_room(alice, "between"))
    assert await listed(alice, space, **{"from": first["next_batch"]}) == ["room 2", "between", "room 3"]


async def test_a_place_belongs_to_its_question(alice: Client) -> None:
    space = await new_space(alice, "space", {await new_room(alice, f"{n}"): VIA for n in range(2)})
    other = await new_space(alice, "other", {})
    place = (await ask(alice, space, limit=1, max_depth=2)).ok()["next_batch"]
    assert await listed(alice, space, max_depth=2, **{"from": place}) == ["0", "1"]
    assert await listed(alice, space, **{"from": place}) == ["0", "1"]
    wrong: list[dict[str, object]] = [
        {"max_depth": 1, "from": place},
        {"suggested_only": "true", "from": place},
        {"from": "nonsense"},
        {"from": "\u20ac"},
        {"from": ""},
        {"limit": 0},
        {"limit": -1},
        {"max_depth": -1},
        {"suggested_only": "perhaps"},
    ]
    for query in wrong:
        (await ask(alice, space, **query)).error(400, "M_INVALID_PARAM")
    (await ask(alice, other, **{"from": place})).error(400, "M_INVALID_PARAM")


async def test_circles_end(alice: Client) -> None:
    one = await new_space(alice, "one", {})
    two = await new_space(alice, "two", {one: VIA})
    await alice.set_state(one, "m.space.child", VIA, two)
    await alice.set_state(one, "m.space.child", VIA, one)
    assert await listed(alice, one) == ["one", "two"]
    assert await pages(alice, two, limit=1) == [["two"], ["one"]]


async def test_who_sees_which_room(alice: Client, bob: Client, carol: Client) -> None:
    space = await new_space(alice, "space", {})
    readable = {"history_visibility": "world_readable"}
    readable_state = [{"type": "m.room.history_visibility", "content": readable}]
    knock = [{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}]
    made = {
        "public": await new_room(alice, "public"),
        "private": await new_room(alice, "private", preset="private_chat"),
        "readable": await new_room(alice, "readable", preset="private_chat", initial_state=readable_state),
        "knock": await new_room(alice, "knock", initial_state=knock),
        "old knock": await new_room(alice, "old knock", initial_state=knock, room_version="6"),
        "restricted": await new_room(alice, "restricted", **restricted_to(space)),
        "banned": await new_room(alice, "banned"),
        "invited": await new_room(alice, "invited", preset="private_chat"),
    }
    for room in made.values():
        await alice.set_state(space, "m.space.child", VIA, room)
    await alice.invite(made["invited"], bob.user_id)
    (await alice.post(path_of("rooms", made["banned"], "ban"), {"user_id": bob.user_id})).ok()
    assert await listed(alice, space) == ["space", *made]
    assert await listed(bob, space) == ["space", "public", "readable", "knock", "invited"]
    assert await listed(carol, space) == ["space", "public", "readable", "knock", "banned"]
    await bob.join(space)
    assert await listed(bob, space) == ["space", "public", "readable", "knock", "restricted", "invited"]
    entry = next(
        entry for entry in (await ask(bob, space)).ok()["rooms"] if entry.get("name") == "restricted"
    )
    assert (entry["join_rule"], entry["allowed_room_ids"]) == ("restricted", [space])


async def test_a_space_that_may_not_be_seen(alice: Client, bob: Client, server: TestServer) -> None:
    inner = await new_room(alice, "inner")
    space = await new_space(alice, "space", {inner: VIA}, preset="private_chat")
    outer = await new_space(alice, "outer", {space: VIA})
    (await ask(bob, space)).error(403, "M_FORBIDDEN")
    (await ask(bob, "!nowhere")).error(403, "M_FORBIDDEN")
    assert await listed(bob, outer) == ["outer"]
    place = (await ask(alice, space, limit=1)).ok()["next_batch"]
    (await ask(bob, space, **{"from": place})).error(403, "M_FORBIDDEN")
    # A room that everybody has left is nowhere.
    await alice.leave(outer)
    (await ask(bob, outer)).error(403, "M_FORBIDDEN")
    del server


async def test_a_child_that_is_taken_out_by_redaction(alice: Client) -> None:
    room = await new_room(alice, "room")
    space = await new_space(alice, "space", {})
    event = await alice.set_state(space, "m.space.child", VIA, room)
    assert await listed(alice, space) == ["space", "room"]
    (await alice.put(path_of("rooms", space, "redact", event, "t"), {})).ok()
    assert await listed(alice, space) == ["space"]
