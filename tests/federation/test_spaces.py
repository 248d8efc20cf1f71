"""Spaces and rooms of other servers, as clients see them."""

from typing import Any

import pytest

from tests.api.server import Answer, Client, path_of
from tests.federation.conftest import Two
from tests.federation.harness import Servers, cut
from tests.federation.peer import Heard, Peer, Reply

HIERARCHY = "/_matrix/federation/v1/hierarchy/{room_id}"


async def ask(client: Client, room: str, **query: object) -> Answer:
    return await client.get(path_of("rooms", room, "hierarchy", version="v1"), **query)


async def names(client: Client, room: str, **query: object) -> list[str]:
    answer = (await ask(client, room, **query)).ok()
    return [entry.get("name", entry["room_id"]) for entry in answer["rooms"]]


async def summary(client: Client, room: str, **query: object) -> Answer:
    return await client.get(path_of("room_summary", room, version="v1"), **query)


async def new_room(client: Client, name: str, **options: Any) -> str:
    return await client.create_room(**{"preset": "public_chat", "name": name, **options})


async def new_space(client: Client, name: str, children: list[str], via: str, **options: Any) -> str:
    space = await new_room(client, name, creation_content={"type": "m.space"}, **options)
    for number, room in enumerate(children):
        await client.set_state(space, "m.space.child", {"via": [via], "order": f"{number:03}"}, room)
    return space


async def test_a_tree_on_two_servers(two: Two) -> None:
    """Client-server API, "Discovering rooms within spaces"."""
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    one, other = two.one.server_name, two.other.server_name
    rule = {"join_rule": "restricted"}
    back = await new_room(alice, "back")
    private = await new_room(bob, "private", preset="private_chat")
    leaf = await new_room(bob, "leaf")
    inner = await new_space(bob, "inner", [leaf, private], other)
    await bob.set_state(inner, "m.space.child", {"via": [one]}, back)
    space = await new_space(alice, "space", [inner], other)
    allow = [{"type": "m.room_membership", "room_id": space}]
    restricted = await new_room(
        bob,
        "restricted",
        initial_state=[{"type": "m.room.join_rules", "content": {**rule, "allow": allow}}],
    )
    await alice.set_state(space, "m.space.child", {"via": [other], "order": "1"}, restricted)
    await bob.request("POST", path_of("join", space), {}, query={"via": one})
    await alice.set_state(space, "m.space.child", {}, restricted)
    assert await names(alice, space) == ["space", "inner", "leaf", "back"]
    assert await names(alice, space, max_depth=1) == ["space", "inner"]
    found = (await ask(alice, space, limit=2)).ok()
    assert await names(alice, space, **{"from": found["next_batch"]}) == ["leaf", "back"]
    entry = (await ask(alice, space)).ok()["rooms"][1]
    assert entry["num_joined_members"] == 1
    assert len(entry["children_state"]) == 3
    # As the root, too, and from the answer that is remembered when the other server is out.
    cut(two.one, two.other)
    assert await names(alice, space) == ["space", "inner", "leaf", "back"]


async def test_rooms_whose_server_does_not_answer_are_left_out(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    away = await new_room(bob, "away")
    here = await new_room(alice, "here")
    space = await new_space(alice, "space", [away, here], two.other.server_name)
    cut(two.one, two.other)
    assert await names(alice, space) == ["space", "here"]


def answer_for(room_id: str, **changes: Any) -> dict[str, Any]:
    room = {
        "room_id": room_id,
        "name": room_id,
        "num_joined_members": 2,
        "world_readable": False,
        "guest_can_join": False,
        "join_rule": "public",
        "children_state": [],
        **changes,
    }
    return {"room": room, "children": [], "inaccessible_children": []}


async def test_what_the_other_server_says_is_weighed_per_user(servers: Servers, peer: Peer) -> None:
    one = await servers.start()
    alice, bob = await one.user("alice"), await one.user("bob")
    club = await new_room(alice, "club")
    server = peer.server_name
    told: dict[str, dict[str, Any]] = {
        "!public": {},
        "!private": {"join_rule": "invite"},
        "!readable": {"join_rule": "invite", "world_readable": True},
        "!knock": {"join_rule": "knock"},
        "!club": {"join_rule": "restricted", "allowed_room_ids": [club]},
        "!future": {"join_rule": "knock", "room_version": "org.example.99"},
        "!ancient": {"join_rule": "knock", "room_version": "1"},
    }
    children = [f"{name}:{server}" for name in told]
    answers = {f"{name}:{server}": answer_for(f"{name}:{server}", **said) for name, said in told.items()}
    peer.answer("GET", HIERARCHY, lambda heard: Reply(answers[heard.args["room_id"]]))
    space = await new_space(alice, "space", children, server)
    open_to_all = ["!public", "!readable", "!knock", "!future"]
    assert await names(bob, space) == ["space", *(f"{name}:{server}" for name in open_to_all)]
    assert f"!club:{server}" in await names(alice, space)
    assert len(peer.heard_at("hierarchy")) == len(children)  # the second user costs nothing
    (await summary(bob, f"!club:{server}", via=server)).error(404, "M_NOT_FOUND")
    assert (await summary(alice, f"!club:{server}", via=server)).ok()["allowed_room_ids"] == [club]


async def test_children_that_were_told_are_not_asked_for(servers: Servers, peer: Peer) -> None:
    one = await servers.start()
    alice = await one.user("alice")
    server = peer.server_name
    ids = {name: f"!{name}:{server}" for name in ("space", "leaf", "hidden", "inner", "circle")}

    def child(name: str, number: int) -> dict[str, Any]:
        content = {"via": [server], "order": str(number)}
        sender = f"@peer:{server}"
        return {
            "type": "m.space.child", "state_key": ids[name], "sender": sender, "content": content,
            "origin_server_ts": number,
        }  # fmt: skip

    stated = [child(name, number) for number, name in enumerate(("leaf", "hidden", "inner"))]
    nonsense = [
        {"type": "m.room.name"},
        [],
        {**child("leaf", 1), "sender": 1},
        {**child("leaf", 1), "content": 1},
    ]
    outer = answer_for(ids["space"], room_type="m.space", children_state=[*stated, *nonsense])
    told = [
        answer_for(ids["leaf"])["room"],
        answer_for(ids["inner"], room_type="m.space")["room"],
        {"room_id": 1},
    ]
    outer |= {"children": told, "inaccessible_children": [ids["hidden"], 1]}
    inner = answer_for(ids["inner"], room_type="m.space", children_state=[child("space", 1)])
    answers = {ids["space"]: outer, ids["inner"]: inner}
    peer.answer("GET", HIERARCHY, lambda heard: Reply(answers[heard.args["room_id"]]))
    space = await new_space(alice, "here", [ids["space"]], server)
    assert await names(alice, space) == ["here", ids["space"], ids["leaf"], ids["inner"]]
    assert [heard.args["room_id"] for heard in peer.heard_at("hierarchy")] == [ids["space"], ids["inner"]]
    entry = (await ask(alice, space)).ok()["rooms"][1]
    assert [each["state_key"] for each in entry["children_state"]] == [
        ids["leaf"],
        ids["hidden"],
        ids["inner"],
    ]


@pytest.mark.parametrize(
    "reply",
    [
        Reply({"errcode": "M_NOT_FOUND", "error": "no"}, 404),
        Reply({"errcode": "M_UNKNOWN", "error": "no"}, 500),
        Reply({}),
        Reply({"room": []}),
        Reply({"room": {"room_id": "!other:example.org"}}),
        Reply({"room": {"room_id": "!room:example.org", "num_joined_members": "many"}}),
        Reply({"room": {"room_id": "!room:example.org", "num_joined_members": -1}}),
        Reply({"room": {"room_id": "!room:example.org", "name": 1}}),
        Reply({"room": {"room_id": "!room:example.org"}, "children": ["x" * 3_000_000]}),
    ],
)
async def test_answers_that_are_none(servers: Servers, peer: Peer, reply: Reply) -> None:
    one = await servers.start()
    alice = await one.user("alice")
    peer.answer("GET", HIERARCHY, reply)
    space = await new_space(alice, "space", ["!room:example.org"], peer.server_name)
    assert await names(alice, space) == ["space"]
    (await summary(alice, "!room:example.org", via=peer.server_name)).error(404, "M_NOT_FOUND")
    assert peer.heard_at("hierarchy")


async def test_one_server_says_nothing_for_another(servers: Servers, peer: Peer) -> None:
    """Who lies of a room, lies only to those who ask for it there."""
    one, other = await servers.start(), await servers.start()
    alice, bob = await one.user("alice"), await other.user("bob")
    room = await new_room(bob, "honest")
    peer.answer("GET", HIERARCHY, lambda heard: Reply(answer_for(heard.args["room_id"], name="a lie")))
    misled = await new_space(alice, "misled", [room], peer.server_name)
    assert await names(alice, misled) == ["misled", "a lie"]
    space = await new_space(alice, "space", [room], other.server_name)
    assert await names(alice, space) == ["space", "honest"]


async def test_the_summary_of_a_room_elsewhere(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    anonymous = two.one.running.anonymous()
    room = await new_room(bob, "Pub", room_alias_name="pub", room_version="12")
    found = (await summary(alice, room, via=two.other.server_name)).ok()
    assert (found["name"], found["membership"], found["room_version"]) == ("Pub", "leave", "12")
    assert "children_state" not in found
    found = (await summary(anonymous, f"#pub:{two.other.server_name}")).ok()
    assert (found["room_id"], found["num_joined_members"]) == (room, 1)
    assert "membership" not in found
    (await summary(alice, room)).error(404, "M_NOT_FOUND")  # whom should it be asked of?
    private = await new_room(bob, "Private", preset="private_chat")
    (await summary(alice, private, via=two.other.server_name)).error(404, "M_NOT_FOUND")
    await bob.invite(private, alice.user_id)
    found = (await summary(alice, private)).ok()  # of the one who has invited
    assert (found["name"], found["membership"]) == ("Private", "invite")
    (await summary(anonymous, private, via=two.other.server_name)).error(404, "M_NOT_FOUND")
    carol = await two.one.user("carol")
    (await summary(carol, private, via=two.other.server_name)).error(404, "M_NOT_FOUND")
    assert (await ask(alice, private)).ok()["rooms"][0]["name"] == "Private"


async def test_the_next_server_is_asked(servers: Servers, peer: Peer) -> None:
    one = await servers.start()
    alice = await one.user("alice")

    def say(heard: Heard) -> Reply:
        return Reply(answer_for(heard.args["room_id"]))

    peer.answer("GET", HIERARCHY, say)
    space = await new_space(alice, "space", [], peer.server_name)
    via = [one.server_name, "localhost:1", peer.server_name]
    await alice.set_state(space, "m.space.child", {"via": via}, "!room:example.org")
    assert await names(alice, space) == ["space", "!room:example.org"]
