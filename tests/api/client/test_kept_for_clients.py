"""What clients keep on the server for themselves, and of which it asks nothing but to be kept and told.

Client-server API: "Unread markers", "Recently used emoji", "Image packs", "Direct Messaging".
"""

from typing import Any

import pytest

from tests.api.server import Client, TestServer, path_of, room_path

GLOBAL: dict[str, dict[str, Any]] = {
    "m.recent_emoji": {
        "recent_emoji": [
            {"emoji": "\N{FOX FACE}", "total": 3},
            {"emoji": "mxc://x/y", "total": 1, "org.x": []},
        ]
    },
    "m.image_pack.rooms": {"rooms": {"!a:test.example": {"": {}, "cats": {"org.x": 1}}}},
    "m.direct": {"@bob:test.example": ["!a:test.example"], "@carol:test.example": []},
}


@pytest.mark.parametrize("type", GLOBAL)
async def test_for_the_account(server: TestServer, alice: Client, type: str) -> None:
    """As it was put, elements that nobody understands included, for all devices, and with a first sync."""
    phone, path = await server.device(alice), path_of("user", alice.user_id, "account_data", type)
    since = (await phone.sync())["next_batch"]
    (await alice.put(path, GLOBAL[type])).ok()
    for answer in (await phone.sync(since), await phone.sync()):
        told = [each for each in answer["account_data"]["events"] if each["type"] == type]
        assert told == [{"type": type, "content": GLOBAL[type]}]
    assert (await phone.get(path)).ok() == GLOBAL[type]


async def test_a_room_that_is_marked_as_unread(server: TestServer, alice: Client, bob: Client) -> None:
    """It has nothing to do with what has been read, nor does reading change it."""
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    event_id = await bob.send(room, "hello")
    (await alice.post(room_path(room, "receipt", "m.read", event_id))).ok()
    phone = await server.device(alice)
    since = (await phone.sync())["next_batch"]
    path = path_of("user", alice.user_id, "rooms", room, "account_data", "m.marked_unread")
    (await alice.put(path, {"unread": True})).ok()
    joined = (await phone.sync(since))["rooms"]["join"][room]
    assert joined["account_data"]["events"] == [{"type": "m.marked_unread", "content": {"unread": True}}]
    assert joined["unread_notifications"]["notification_count"] == 0
    event_id = await bob.send(room, "again")
    markers = {"m.fully_read": event_id, "m.read": event_id}
    (await alice.post(room_path(room, "read_markers"), markers)).ok()
    assert (await alice.get(path)).ok() == {"unread": True}


async def test_image_packs_are_state_of_rooms(alice: Client, bob: Client) -> None:
    """Any number of them, each with its state key, the empty one among them."""
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    since = (await bob.sync())["next_batch"]
    image = {"url": "mxc://test.example/cat", "body": "a cat", "info": {"w": 128, "h": 128}}
    packs = {key: {"images": {f"cat_{key}": image}, "pack": {"usage": ["emoticon"]}} for key in ("", "cats")}
    for key, pack in packs.items():
        await alice.set_state(room, "m.room.image_pack", pack, key)
        assert (await bob.get(room_path(room, "state", "m.room.image_pack", key))).ok() == pack
    told = (await bob.sync(since))["rooms"]["join"][room]["timeline"]["events"]
    assert {each["state_key"]: each["content"] for each in told} == packs
    path = room_path(room, "state", "m.room.image_pack", "dogs")
    (await bob.put(path, {"images": {}})).error(403, "M_FORBIDDEN")
