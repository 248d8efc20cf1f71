"""New rooms that are encrypted because the configuration says so."""

from pathlib import Path
from typing import Any

import pytest

from tests.api.client.test_create_room import content, events
from tests.api.server import Client, running_server
from tests.openapi import Specification

PRESETS = ("private_chat", "trusted_private_chat", "public_chat")
MEGOLM = {"algorithm": "m.megolm.v1.aes-sha2"}
FORCED = "io.element.e2ee_forced."


async def is_encrypted(client: Client, **options: Any) -> bool:
    made = await events(client, await client.create_room(**options))
    found = [event["content"] for event in made if event["type"] == "m.room.encryption"]
    assert found in ([], [MEGOLM])
    return bool(found)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [("off", ()), ("invite", PRESETS[:2]), ("all", PRESETS)],
    ids=str,
)
async def test_which_rooms_are_encrypted(
    database_url: str,
    tmp_path: Path,
    specification: Specification | None,
    setting: str,
    expected: tuple[str, ...],
) -> None:
    options: dict[str, Any] = {"encryption_enabled_by_default_for_room_type": setting}
    async with running_server(database_url, tmp_path, specification, **options) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        for preset in PRESETS:
            assert await is_encrypted(alice, preset=preset, name="x") is (preset in expected)
        # Without a preset the visibility says which one is meant.
        assert await is_encrypted(alice) is ("private_chat" in expected)
        assert await is_encrypted(alice, visibility="public") is ("public_chat" in expected)
        direct = {"preset": "trusted_private_chat", "is_direct": True, "invite": [bob.user_id]}
        assert await is_encrypted(alice, **direct) is ("trusted_private_chat" in expected)
        for preset in PRESETS:
            assert not await is_encrypted(alice, preset=preset, creation_content={"type": "m.space"})
        # What the client says goes before.
        for stated in ({"algorithm": "org.example.other"}, {**MEGOLM, "rotation_period_msgs": 10}):
            room = await alice.create_room(initial_state=[{"type": "m.room.encryption", "content": stated}])
            assert await content(alice, room, "m.room.encryption") == stated
            types = [event["type"] for event in await events(alice, room)]
            assert types.count("m.room.encryption") == 1
        # Clients that know of it are told.
        features = (await alice.get("/_matrix/client/versions")).ok()["unstable_features"]
        assert {name: value for name, value in features.items() if name.startswith(FORCED)} == {
            FORCED + preset.removesuffix("_chat"): True for preset in expected
        }


async def test_the_room_says_so_from_the_beginning(
    database_url: str, tmp_path: Path, specification: Specification | None
) -> None:
    """Among what the preset sets; and who is invited sees it."""
    options: dict[str, Any] = {"encryption_enabled_by_default_for_room_type": "invite"}
    async with running_server(database_url, tmp_path, specification, **options) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        room = await alice.create_room(name="x", invite=[bob.user_id])
        types = [event["type"] for event in await events(alice, room)]
        assert types.index("m.room.encryption") == types.index("m.room.guest_access") + 1
        invite = (await bob.sync())["rooms"]["invite"][room]["invite_state"]["events"]
        assert MEGOLM in [event["content"] for event in invite if event["type"] == "m.room.encryption"]
