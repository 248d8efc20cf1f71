"""EDUs of a foreign server, from its transaction to the client: server-server API, "EDUs"."""

from typing import Any

import pytest

from tests.federation.harness import Servers, until
from tests.federation.peer import Peer
from tests.federation.scene import Scene, set_scene


@pytest.fixture
async def scene(servers: Servers, peer: Peer) -> Scene:
    return await set_scene(servers, peer)


def edu(edu_type: str, content: object) -> dict[str, Any]:
    return {"edu_type": edu_type, "content": content}


async def ephemeral(scene: Scene, event_type: str, since: str | None = None) -> list[Any]:
    """The ephemeral events of a type that Alice gets for the room."""
    joined = (await scene.alice.sync(since))["rooms"].get("join", {}).get(scene.room.room_id, {})
    return [event for event in joined.get("ephemeral", {}).get("events", []) if event["type"] == event_type]


def types(scene: Scene, *, typing: bool = True) -> dict[str, Any]:
    return edu("m.typing", {"room_id": scene.room.room_id, "user_id": scene.mallory, "typing": typing})


async def test_typing_is_seen(scene: Scene) -> None:
    (await scene.send(edus=[types(scene)])).ok()
    assert await ephemeral(scene, "m.typing") == [
        {"type": "m.typing", "content": {"user_ids": [scene.mallory]}}
    ]
    since = (await scene.alice.sync())["next_batch"]
    (await scene.send(edus=[types(scene, typing=False)])).ok()
    assert await ephemeral(scene, "m.typing", since) == [{"type": "m.typing", "content": {"user_ids": []}}]


async def test_a_receipt_is_seen_when_it_is_acknowledged(scene: Scene) -> None:
    event_id = await scene.alice.send(scene.room.room_id, "hello")
    receipt = {"event_ids": [event_id], "data": {"ts": 1_600_000_000_000}}
    content = {scene.room.room_id: {"m.read": {scene.mallory: receipt}}}
    (await scene.send(edus=[edu("m.receipt", content)])).ok()
    (event,) = await ephemeral(scene, "m.receipt")
    assert event["content"] == {event_id: {"m.read": {scene.mallory: {"ts": 1_600_000_000_000}}}}


async def test_a_receipt_in_the_same_transaction_as_its_event_is_seen(scene: Scene) -> None:
    pdu = scene.says("hello")
    event_id = scene.room.id_of(pdu)
    receipt = {"event_ids": [event_id], "data": {"ts": 1_600_000_000_000}}
    content = {scene.room.room_id: {"m.read": {scene.mallory: receipt}}}
    (await scene.send([pdu], [edu("m.receipt", content)])).ok()

    async def is_seen() -> bool:
        return any(event_id in event["content"] for event in await ephemeral(scene, "m.receipt"))

    await until(is_seen, what="the receipt")


async def test_presence_is_seen(scene: Scene) -> None:
    update = {"user_id": scene.mallory, "presence": "online", "last_active_ago": 1000, "status_msg": "Here"}
    (await scene.send(edus=[edu("m.presence", {"push": [update]})])).ok()
    events = (await scene.alice.sync())["presence"]["events"]
    (event,) = [event for event in events if event["sender"] == scene.mallory]
    assert (event["content"]["presence"], event["content"]["status_msg"]) == ("online", "Here")


async def test_what_is_odd_is_in_nobodys_way(scene: Scene) -> None:
    """A transaction with a bad EDU is acknowledged: otherwise it would be repeated for ever."""
    odd = [
        edu("org.example.unknown", {}),
        edu("m.typing", None),
        edu("m.typing", {"room_id": 5}),
        edu("m.receipt", {scene.room.room_id: 5}),
        edu("m.presence", {"push": [{"user_id": scene.alice.user_id, "presence": "offline"}]}),
        edu("m.typing", {"room_id": scene.room.room_id, "user_id": scene.alice.user_id, "typing": True}),
    ]
    (await scene.send(edus=[*odd, types(scene)])).ok()
    assert await ephemeral(scene, "m.typing") == [
        {"type": "m.typing", "content": {"user_ids": [scene.mallory]}}
    ]


async def test_a_server_that_the_room_denies_is_not_heard(servers: Servers, numeric_peer: Peer) -> None:
    scene = await set_scene(servers, numeric_peer)
    (await scene.send(edus=[types(scene)])).ok()
    (await scene.send(edus=[types(scene, typing=False)])).ok()
    since = (await scene.alice.sync())["next_batch"]
    acl = {"allow": ["*"], "allow_ip_literals": False}
    await scene.alice.set_state(scene.room.room_id, "m.room.server_acl", acl)
    (await scene.send(edus=[types(scene)])).ok()
    assert await ephemeral(scene, "m.typing", since) == []
