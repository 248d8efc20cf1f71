"""Client-server API, `room_upgrades.yaml`, and the module "Room Upgrades"."""

from typing import Any

import pytest

from homeserver.core.room_versions import ROOM_VERSIONS
from tests.api.server import SERVER_NAME, Answer, Client, TestServer, path_of, room_path

VERSIONS = sorted(ROOM_VERSIONS, key=int)


async def ask(client: Client, room: str, version: str = "11", **body: object) -> Answer:
    return await client.post(room_path(room, "upgrade"), {"new_version": version, **body})


async def upgrade(client: Client, room: str, version: str = "11", **body: object) -> str:
    return str((await ask(client, room, version, **body)).ok()["replacement_room"])


async def state_of(client: Client, room: str) -> dict[tuple[str, str], Any]:
    """The content of every event of the room's state."""
    events = (await client.get(room_path(room, "state"))).ok()
    return {(event["type"], event["state_key"]): event["content"] for event in events}


async def global_data(client: Client, name: str) -> Any:
    return (await client.get(path_of("user", client.user_id, "account_data", name))).ok()


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_room_is_replaced_by_one_of_any_version(alice: Client, bob: Client, version: str) -> None:
    content = {
        "m.room.server_acl": {"allow": ["*"], "deny": ["evil.example"]},
        "m.room.encryption": {"algorithm": "m.megolm.v1.aes-sha2"},
        "m.room.name": {"name": "The Room"},
        "m.room.avatar": {"url": "mxc://a/b"},
        "m.room.topic": {"topic": "This and that"},
        "m.room.guest_access": {"guest_access": "can_join"},
        "m.room.history_visibility": {"history_visibility": "joined"},
        "m.room.join_rules": {"join_rule": "public"},
    }
    room = await alice.create_room(preset="public_chat", room_version="9")
    for event_type, each in content.items():
        await alice.set_state(room, event_type, each)
    await alice.set_state(room, "m.room.pinned_events", {"pinned": []})
    await alice.set_state(room, "org.example.own", {"a": 1})
    levels = (await state_of(alice, room))["m.room.power_levels", ""]
    levels["users"][bob.user_id] = 70
    levels["events"]["org.example.own"] = 80
    await alice.set_state(room, "m.room.power_levels", levels)
    await bob.join(room)
    last = await bob.send(room, "before")
    new = await upgrade(alice, room, version)

    state = await state_of(alice, new)
    assert {key[0]: each for key, each in state.items() if key[0] in content} == content
    create = state["m.room.create", ""]
    assert create["room_version"] == version
    assert create["predecessor"]["room_id"] == room
    assert "type" not in create
    assert ("org.example.own", "") not in state
    assert ("m.room.pinned_events", "") not in state
    assert {key[1] for key in state if key[0] == "m.room.member"} == {alice.user_id}
    expected = dict(levels, users=dict(levels["users"]))
    if version == "12":
        del expected["users"][alice.user_id]
    assert state["m.room.power_levels", ""] == expected

    old = await state_of(alice, room)
    tombstone = old["m.room.tombstone", ""]
    assert tombstone["replacement_room"] == new
    assert isinstance(tombstone["body"], str)
    known = create["predecessor"]["event_id"]
    if version == "12":
        assert known == last
    else:
        event = (await alice.get(room_path(room, "event", known))).ok()
        assert event["type"] == "m.room.tombstone"
    assert old["m.room.power_levels", ""] == {**levels, "events_default": 50, "invite": 50}
    (await bob.put(room_path(room, "send", "m.room.message", "t"), {"body": "x"})).ok()  # he has 70
    await bob.join(new)
    await bob.send(new, "after")


async def test_who_may(alice: Client, bob: Client, carol: Client, server: TestServer) -> None:
    room = await alice.create_room(preset="public_chat", room_version="10")
    await bob.join(room)
    for client in (bob, carol):
        for version in ("11", "12"):
            (await ask(client, room, version)).error(403, "M_FORBIDDEN")
    (await ask(alice, "!nowhere")).error(404, "M_NOT_FOUND")
    (await ask(alice, room, "13")).error(400, "M_UNSUPPORTED_ROOM_VERSION")
    (await ask(alice, room, "")).error(400, "M_UNSUPPORTED_ROOM_VERSION")
    (await alice.post(room_path(room, "upgrade"), {})).error(400, "M_BAD_JSON")
    (await ask(alice, room, "12", additional_creators=["bob"])).error(400, "M_INVALID_PARAM")
    many = [f"@user{n}:{SERVER_NAME}" for n in range(101)]
    (await ask(alice, room, "12", additional_creators=many)).error(413, "M_TOO_LARGE")
    assert ("m.room.tombstone", "") not in await state_of(alice, room)
    await server.restrict(alice, "is_suspended")
    (await ask(alice, room)).error(403, "M_USER_SUSPENDED")


async def test_who_may_replace_the_room_and_no_more(alice: Client, bob: Client) -> None:
    """Power that is less than what the new room's state needs is enough, and stays what it is."""
    room = await alice.create_room(preset="public_chat", room_version="10", topic="The topic")
    levels = (await state_of(alice, room))["m.room.power_levels", ""]
    levels["users"][bob.user_id] = 10
    levels["events"]["m.room.tombstone"] = 10
    await alice.set_state(room, "m.room.power_levels", levels)
    await bob.join(room)
    new = await upgrade(bob, room, "11")
    state = await state_of(bob, new)
    assert state["m.room.power_levels", ""] == levels
    assert state["m.room.topic", ""]["topic"] == "The topic"
    assert (await state_of(alice, room))["m.room.power_levels", ""] == levels  # it was not possible
    (await bob.put(room_path(new, "state", "m.room.topic", ""), {"topic": "x"})).error(403, "M_FORBIDDEN")
    await alice.join(new)
    await alice.set_state(new, "m.room.topic", {"topic": "x"})


async def test_creators(alice: Client, bob: Client, carol: Client) -> None:
    """Room version 12: additional creators, who are not those of the old room by themselves."""
    room = await alice.create_room(preset="public_chat", room_version="11")
    levels = (await state_of(alice, room))["m.room.power_levels", ""]
    levels["users"] |= {bob.user_id: 100, carol.user_id: 50}
    await alice.set_state(room, "m.room.power_levels", levels)
    second = await upgrade(alice, room, "12", additional_creators=[bob.user_id, bob.user_id, alice.user_id])
    state = await state_of(alice, second)
    assert state["m.room.create", ""]["additional_creators"] == [bob.user_id]
    assert state["m.room.power_levels", ""]["users"] == {carol.user_id: 50}
    third = await upgrade(alice, second, "12")
    state = await state_of(alice, third)
    assert "additional_creators" not in state["m.room.create", ""]
    assert state["m.room.power_levels", ""]["users"] == {carol.user_id: 50}
    # Where nobody is privileged, creators get a level.
    old = await upgrade(alice, second, "11", additional_creators=[carol.user_id])
    state = await state_of(alice, old)
    assert "additional_creators" not in state["m.room.create", ""]
    assert state["m.room.power_levels", ""]["users"] == {
        alice.user_id: 100,
        bob.user_id: 100,
        carol.user_id: 50,
    }
    await alice.set_state(old, "m.room.name", {"name": "x"})


async def test_what_the_old_room_keeps(alice: Client) -> None:
    room = await alice.create_room(
        room_version="10", power_level_content_override={"events_default": 75, "users_default": 60}
    )
    await upgrade(alice, room)
    levels = (await state_of(alice, room))["m.room.power_levels", ""]
    assert (levels["events_default"], levels["invite"], levels["users_default"]) == (75, 61, 60)


@pytest.mark.parametrize(("old_version", "new_version"), [("9", "10"), ("5", "12"), ("3", "4")])
async def test_levels_that_are_spelled_as_text(alice: Client, old_version: str, new_version: str) -> None:
    room = await alice.create_room(room_version=old_version)
    levels = (await state_of(alice, room))["m.room.power_levels", ""]
    levels |= {"kick": "60", "users": {alice.user_id: "100"}, "events": {"a": " 7 "}}
    levels["notifications"] = {"room": "20"}
    await alice.set_state(room, "m.room.power_levels", levels)
    new = await upgrade(alice, room, new_version)
    found = (await state_of(alice, new))["m.room.power_levels", ""]
    assert found["kick"] == 60
    assert found["events"] == {"a": 7}
    assert found["notifications"] == {"room": 20}
    assert found["users"] == ({} if new_version == "12" else {alice.user_id: 100})


async def test_rules_that_the_new_version_does_not_know(alice: Client) -> None:
    room = await alice.create_room(
        room_version="10",
        initial_state=[{"type": "m.room.join_rules", "content": {"join_rule": "knock_restricted"}}],
    )
    old, new = await upgrade(alice, room, "9"), await upgrade(alice, room, "11")
    assert (await state_of(alice, old))["m.room.join_rules", ""] == {"join_rule": "invite"}
    assert (await state_of(alice, new))["m.room.join_rules", ""] == {"join_rule": "knock_restricted"}


async def test_names_and_the_directory_move(alice: Client, server: TestServer) -> None:
    room = await alice.create_room(visibility="public", preset="public_chat", room_alias_name="pub")
    one, two = f"#pub:{SERVER_NAME}", f"#bar:{SERVER_NAME}"
    (await alice.put(path_of("directory", "room", two), {"room_id": room})).ok()
    await alice.set_state(room, "m.room.canonical_alias", {"alias": one, "alt_aliases": [two]})
    new = await upgrade(alice, room, "12")
    for alias in (one, two):
        assert (await alice.get(path_of("directory", "room", alias))).ok()["room_id"] == new
    assert (await alice.get(room_path(room, "aliases"))).ok()["aliases"] == []
    new_state, old_state = await state_of(alice, new), await state_of(alice, room)
    assert new_state["m.room.canonical_alias", ""] == {"alias": one, "alt_aliases": [two]}
    assert old_state["m.room.canonical_alias", ""] == {"alt_aliases": []}
    listed = (await server.anonymous().get(path_of("publicRooms"))).ok()["chunk"]
    assert [entry["room_id"] for entry in listed] == [new]


async def test_a_space_keeps_its_type_and_its_children(alice: Client) -> None:
    space = await alice.create_room(creation_content={"type": "m.space", "m.federate": False, "x": 1})
    for number in range(3):
        await alice.set_state(space, "m.space.child", {"via": ["a"], "order": str(number)}, f"!{number}:a")
    await alice.set_state(space, "m.space.child", {}, "!2:a")
    state = await state_of(alice, await upgrade(alice, space, "11"))
    assert state["m.room.create", ""]["type"] == "m.space"
    assert state["m.room.create", ""]["m.federate"] is False
    assert "x" not in state["m.room.create", ""]
    assert {key[1] for key in state if key[0] == "m.space.child"} == {"!0:a", "!1:a"}


async def personalise(client: Client, room: str) -> None:
    """Tag the room, mute it in both ways that clients know, and call it a direct chat."""
    (
        await client.put(
            path_of("user", client.user_id, "rooms", room, "tags", "m.favourite"), {"order": 0.5}
        )
    ).ok()
    (await client.put(path_of("pushrules", "global", "room", room), {"actions": []})).ok()
    condition = {"kind": "event_match", "key": "room_id", "pattern": room}
    muted = {"actions": [], "conditions": [condition]}
    (await client.put(path_of("pushrules", "global", "override", room), muted)).ok()
    direct = {"@other:a": [room], "@third:a": ["!x:a"]}
    (await client.put(path_of("user", client.user_id, "account_data", "m.direct"), direct)).ok()


async def check_personalised(client: Client, room: str, new: str) -> None:
    tags = (await client.get(path_of("user", client.user_id, "rooms", new, "tags"))).ok()["tags"]
    assert tags == {"m.favourite": {"order": 0.5}}
    rule = (await client.get(path_of("pushrules", "global", "room", new))).ok()
    assert (rule["rule_id"], rule["actions"]) == (new, [])
    rule = (await client.get(path_of("pushrules", "global", "override", new))).ok()
    assert rule["conditions"] == [{"kind": "event_match", "key": "room_id", "pattern": new}]
    (await client.get(path_of("pushrules", "global", "room", room))).ok()
    assert await global_data(client, "m.direct") == {"@other:a": [room, new], "@third:a": ["!x:a"]}


@pytest.mark.parametrize("version", ["11", "12"])
async def test_settings_move_with_their_users(alice: Client, bob: Client, version: str) -> None:
    room = await alice.create_room(preset="public_chat", room_version="10")
    await bob.join(room)
    for client in (alice, bob):
        await personalise(client, room)
    since = (await bob.sync())["next_batch"]
    new = await upgrade(alice, room, version)
    await check_personalised(alice, room, new)
    (await bob.get(path_of("pushrules", "global", "room", new))).error(404, "M_NOT_FOUND")
    await bob.join(new)
    await check_personalised(bob, room, new)
    # His devices hear of it.
    told = await bob.sync(since)
    assert {event["type"] for event in told["account_data"]["events"]} == {"m.push_rules", "m.direct"}
    (tag,) = told["rooms"]["join"][new]["account_data"]["events"]
    assert tag["type"] == "m.tag"
    # What he changes afterwards stays as it is, also when he comes back.
    (await bob.delete(path_of("user", bob.user_id, "rooms", new, "tags", "m.favourite"))).ok()
    await bob.leave(new)
    await bob.join(new)
    assert (await bob.get(path_of("user", bob.user_id, "rooms", new, "tags"))).ok()["tags"] == {}


async def test_a_room_that_only_claims_to_replace_another(alice: Client, bob: Client) -> None:
    room = await bob.create_room()
    await personalise(bob, room)
    trap = await alice.create_room(
        preset="public_chat", creation_content={"predecessor": {"room_id": room, "event_id": "$x"}}
    )
    await bob.join(trap)
    assert (await bob.get(path_of("user", bob.user_id, "rooms", trap, "tags"))).ok()["tags"] == {}
    assert await global_data(bob, "m.direct") == {"@other:a": [room], "@third:a": ["!x:a"]}
    for predecessor in ("text", {"room_id": 1}, {}):
        await bob.join(
            await alice.create_room(preset="public_chat", creation_content={"predecessor": predecessor})
        )
