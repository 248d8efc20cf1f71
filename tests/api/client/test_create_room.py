"""Client-server API, `create_room.yaml`."""

from typing import Any

import pytest

from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.services.room_creation import MAX_INITIAL_STATE, MAX_INVITES
from tests.api.server import SERVER_NAME, Client, TestServer, path_of, room_path

CREATE = "/_matrix/client/v3/createRoom"


async def content(client: Client, room: str, event_type: str, state_key: str = "") -> Any:
    return (await client.get(room_path(room, "state", event_type, state_key))).ok()


async def events(client: Client, room: str) -> list[Any]:
    """The room's events, oldest first."""
    answer = (await client.get(room_path(room, "messages"), dir="f", limit=200)).ok()
    chunk: list[Any] = answer["chunk"]
    return chunk


@pytest.mark.parametrize("version", ROOM_VERSIONS)
async def test_a_room_of_every_version_begins_with_the_events_in_the_given_order(
    alice: Client, bob: Client, version: str
) -> None:
    room = await alice.create_room(
        room_version=version,
        room_alias_name="pub",
        name="The Pub",
        topic="Beer",
        invite=[bob.user_id],
        initial_state=[{"type": "org.example.test", "state_key": "k", "content": {"a": 1}}],
    )
    made = await events(alice, room)
    assert [event["type"] for event in made] == [
        "m.room.create",
        "m.room.member",
        "m.room.power_levels",
        "m.room.canonical_alias",
        "m.room.join_rules",
        "m.room.history_visibility",
        "m.room.guest_access",
        "org.example.test",
        "m.room.name",
        "m.room.topic",
        "m.room.member",
    ]
    assert {event["sender"] for event in made} == {alice.user_id}
    create = made[0]["content"]
    assert create["room_version"] == version
    assert ("creator" in create) is (int(version) <= 10)
    assert made[-1]["content"]["membership"] == "invite"
    assert made[-1]["state_key"] == bob.user_id
    assert (room == "!" + made[0]["event_id"][1:]) is (version == "12")


async def test_without_options_the_room_is_private_and_of_the_default_version(alice: Client) -> None:
    room = await alice.create_room()
    assert (await content(alice, room, "m.room.join_rules")) == {"join_rule": "invite"}
    assert (await content(alice, room, "m.room.create"))["room_version"] == "12"
    visibility = (await alice.get(path_of("directory", "list", "room", room))).ok()
    assert visibility == {"visibility": "private"}


@pytest.mark.parametrize(
    ("options", "join_rule", "guest_access"),
    [
        ({"preset": "private_chat"}, "invite", "can_join"),
        ({"preset": "trusted_private_chat"}, "invite", "can_join"),
        ({"preset": "public_chat"}, "public", "forbidden"),
        ({"visibility": "public"}, "public", "forbidden"),
        ({"visibility": "private"}, "invite", "can_join"),
        ({"visibility": "public", "preset": "private_chat"}, "invite", "can_join"),
    ],
)
async def test_presets(alice: Client, options: Any, join_rule: str, guest_access: str) -> None:
    room = await alice.create_room(**options)
    assert await content(alice, room, "m.room.join_rules") == {"join_rule": join_rule}
    assert await content(alice, room, "m.room.guest_access") == {"guest_access": guest_access}
    assert await content(alice, room, "m.room.history_visibility") == {"history_visibility": "shared"}


async def test_initial_state_goes_before_the_preset_and_name_and_topic_before_both(alice: Client) -> None:
    room = await alice.create_room(
        preset="public_chat",
        name="right",
        initial_state=[
            {"type": "m.room.join_rules", "content": {"join_rule": "knock"}},
            {"type": "m.room.name", "content": {"name": "wrong"}},
            {"type": "m.room.topic", "content": {"topic": "kept"}},
        ],
    )
    assert await content(alice, room, "m.room.join_rules") == {"join_rule": "knock"}
    assert await content(alice, room, "m.room.name") == {"name": "right"}
    assert await content(alice, room, "m.room.topic") == {"topic": "kept"}
    made = [(event["type"], event.get("state_key")) for event in await events(alice, room)]
    assert len(made) == len(set(made)), "nothing is set twice"


async def test_the_server_writes_creator_and_version_itself(alice: Client, bob: Client) -> None:
    room = await alice.create_room(
        room_version="9",
        creation_content={
            "creator": bob.user_id,
            "room_version": "1",
            "m.federate": False,
            "type": "m.space",
        },
    )
    assert await content(alice, room, "m.room.create") == {
        "creator": alice.user_id,
        "room_version": "9",
        "m.federate": False,
        "type": "m.space",
    }


async def test_power_levels_are_overridden_key_by_key(alice: Client) -> None:
    room = await alice.create_room(
        room_version="11", power_level_content_override={"events_default": 10, "events": {"m.room.name": 0}}
    )
    levels = await content(alice, room, "m.room.power_levels")
    assert levels["events_default"] == 10
    assert levels["events"] == {"m.room.name": 0}
    assert levels["users"] == {alice.user_id: 100}
    assert levels["state_default"] == 50


@pytest.mark.parametrize(
    ("override", "level"),
    [
        ({}, 150),
        ({"events": {"m.room.name": 0}}, 150),
        ({"state_default": 500}, 501),
        ({"events": {"m.room.tombstone": 60}}, 60),
    ],
)
async def test_from_version_12_on_upgrades_need_more_than_other_state(
    alice: Client, override: Any, level: int
) -> None:
    room = await alice.create_room(room_version="12", power_level_content_override=override)
    levels = await content(alice, room, "m.room.power_levels")
    assert levels["users"] == {}
    assert levels["events"]["m.room.tombstone"] == level
    assert level > levels["state_default"]


@pytest.mark.parametrize("version", ["11", "12"])
async def test_in_a_trusted_chat_all_are_equal(
    alice: Client, bob: Client, carol: Client, version: str
) -> None:
    room = await alice.create_room(
        room_version=version,
        preset="trusted_private_chat",
        invite=[bob.user_id, bob.user_id],
        creation_content={"additional_creators": [carol.user_id, bob.user_id]} if version == "12" else {},
    )
    users = (await content(alice, room, "m.room.power_levels"))["users"]
    create = await content(alice, room, "m.room.create")
    if version == "12":
        assert create["additional_creators"] == [carol.user_id, bob.user_id]
        assert users == {}
    else:
        assert users == {alice.user_id: 100, bob.user_id: 100}


async def test_direct_chats_say_so_to_the_invited(alice: Client, bob: Client) -> None:
    room = await alice.create_room(is_direct=True, invite=[bob.user_id])
    invited = (await bob.sync())["rooms"]["invite"][room]["invite_state"]["events"][-1]
    assert invited["content"] == {"membership": "invite", "is_direct": True, "displayname": "bob"}


async def test_the_alias_leads_to_the_room_and_is_its_canonical_one(alice: Client) -> None:
    room = await alice.create_room(room_alias_name="thepub")
    alias = f"#thepub:{SERVER_NAME}"
    assert (await alice.get(path_of("directory", "room", alias))).ok()["room_id"] == room
    assert await content(alice, room, "m.room.canonical_alias") == {"alias": alias}


async def test_a_taken_alias_makes_no_room(alice: Client, bob: Client) -> None:
    await alice.create_room(room_alias_name="thepub")
    (await bob.post(CREATE, {"room_alias_name": "thepub"})).error(400, "M_ROOM_IN_USE")
    assert (await bob.get(path_of("joined_rooms"))).ok() == {"joined_rooms": []}


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({"preset": "loud_chat"}, "M_BAD_JSON"),
        ({"visibility": "hidden"}, "M_BAD_JSON"),
        ({"invite": "@bob:test.example"}, "M_BAD_JSON"),
        ({"invite": ["bob"]}, "M_INVALID_PARAM"),
        ({"initial_state": [{"type": "m.room.name"}]}, "M_BAD_JSON"),
        ({"name": 5}, "M_BAD_JSON"),
        ({"room_version": "twelve"}, "M_UNSUPPORTED_ROOM_VERSION"),
        ({"room_version": 12}, "M_BAD_JSON"),
        ({"room_alias_name": ""}, "M_INVALID_PARAM"),
        ({"room_alias_name": "a:b"}, "M_INVALID_PARAM"),
        ({"room_alias_name": "a b"}, "M_INVALID_PARAM"),
        ({"room_alias_name": "x" * 250}, "M_INVALID_PARAM"),
        ({"initial_state": [{"type": "m.room.create", "content": {}}]}, "M_INVALID_ROOM_STATE"),
        (
            {"initial_state": [{"type": "m.room.member", "state_key": "@a:b", "content": {}}]},
            "M_INVALID_ROOM_STATE",
        ),
        ({"power_level_content_override": {"users_default": -1}, "room_version": "12"}, None),
        (
            {"power_level_content_override": {"users": {"@alice:test.example": 0}}, "room_version": "11"},
            "M_INVALID_ROOM_STATE",
        ),
        (
            {"power_level_content_override": {"users": {"@alice:test.example": 100}}, "room_version": "12"},
            "M_INVALID_ROOM_STATE",
        ),
        ({"power_level_content_override": {"ban": "fifty"}}, "M_INVALID_ROOM_STATE"),
        ({"creation_content": {"additional_creators": ["bob"]}}, "M_INVALID_ROOM_STATE"),
        (
            {"preset": "trusted_private_chat", "creation_content": {"additional_creators": [1]}},
            "M_INVALID_PARAM",
        ),
        ({"initial_state": [{"type": "m.room.encryption", "content": {}}]}, "M_BAD_JSON"),
        (
            {"initial_state": [{"type": "m.room.canonical_alias", "content": {"alias": "#no:test.example"}}]},
            "M_BAD_ALIAS",
        ),
        ({"invite": [f"@u{n}:test.example" for n in range(MAX_INVITES + 1)]}, "M_INVALID_PARAM"),
        (
            {
                "initial_state": [
                    {"type": "t", "state_key": str(n), "content": {}} for n in range(MAX_INITIAL_STATE + 1)
                ]
            },
            "M_INVALID_PARAM",
        ),
    ],
)
async def test_what_makes_no_room(alice: Client, body: Any, errcode: str | None) -> None:
    answer = await alice.request("POST", CREATE, body)
    if errcode is None:
        answer.ok()
        return
    answer.error(400, errcode)
    assert (await alice.get(path_of("joined_rooms"))).ok() == {"joined_rooms": []}


async def test_a_failed_creation_gives_the_alias_back(alice: Client) -> None:
    bad = {"room_alias_name": "pub", "power_level_content_override": {"ban": "fifty"}}
    (await alice.post(CREATE, bad)).error(400, "M_INVALID_ROOM_STATE")
    await alice.create_room(room_alias_name="pub")


async def test_without_a_good_address_there_is_no_room(alice: Client) -> None:
    good = {"id_server": "id.example", "id_access_token": "t", "medium": "email", "address": "a@b.c"}
    for wrong in ({"id_server": "no/server"}, {"id_access_token": ""}, {"medium": "icq"}, {"address": "a"}):
        body = {"invite_3pid": [{**good, **wrong}]}
        (await alice.post(CREATE, body)).error(400, "M_INVALID_PARAM")
    (await alice.post(CREATE, {"invite_3pid": [good] * 21})).error(400, "M_INVALID_PARAM")
    assert (await alice.get(path_of("joined_rooms"))).ok() == {"joined_rooms": []}
    await alice.create_room(invite_3pid=[])


async def test_who_blocks_invitations_is_not_invited(alice: Client, bob: Client) -> None:
    config = path_of("user", bob.user_id, "account_data", "m.invite_permission_config")
    (await bob.put(config, {"default_action": "block"})).ok()
    (await alice.post(CREATE, {"invite": [bob.user_id]})).error(403, "M_INVITE_BLOCKED")
    assert (await alice.get(path_of("joined_rooms"))).ok() == {"joined_rooms": []}
    (await bob.put(config, {})).ok()
    await alice.create_room(invite=[bob.user_id])


async def test_creating_a_room_needs_a_token(server: TestServer) -> None:
    (await server.anonymous().post(CREATE)).error(401, "M_MISSING_TOKEN")
