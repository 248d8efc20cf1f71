"""Relations of events that other servers send, in whatever order."""

from typing import Any

import pytest

from homeserver.core.event import Event
from tests.api.server import Client, path_of, room_path
from tests.federation.harness import FederatedServer, Servers, until
from tests.federation.peer import Peer, federation
from tests.federation.shared_rooms import mallory, send, shared_room
from tests.rooms.signed_rooms import SignedRoom


@pytest.fixture
async def ours(servers: Servers) -> FederatedServer:
    return await servers.start()


@pytest.fixture
async def alice(ours: FederatedServer) -> Client:
    return await ours.user("alice")


def relate(room: SignedRoom, peer: Peer, parent: Event, rel_type: str, base: Event) -> Event:
    relation = {"rel_type": rel_type, "event_id": parent.event_id, "key": "k"}
    content = {"body": "x", "m.new_content": {"body": "y"}, "m.relates_to": relation}
    return room.send("m.room.message", mallory(peer), content, prev=[base])


async def test_children_before_their_parent(ours: FederatedServer, alice: Client, peer: Peer) -> None:
    room = await shared_room(ours, peer, alice)
    base = room.last
    parent = room.say(mallory(peer), "parent", prev=[base])
    children = {
        rel_type: relate(room, peer, parent, rel_type, base)
        for rel_type in ("m.replace", "m.thread", "m.reference", "m.annotation")
    }
    ids = {rel_type: child.event_id for rel_type, child in children.items()}
    await send(room, ours, peer, *children.values())

    async def has(event_id: str) -> bool:
        return (await alice.get(room_path(room.room_id, "event", event_id))).status == 200

    await until(lambda: has(children["m.annotation"].event_id), what="the children")
    path = path_of("rooms", room.room_id, "relations", parent.event_id, version="v1")
    (await alice.get(path)).error(404, "M_NOT_FOUND")
    threads = path_of("rooms", room.room_id, "threads", version="v1")
    assert (await alice.get(threads)).ok() == {"chunk": []}
    await send(room, ours, peer, parent)
    await until(lambda: has(parent.event_id), what="the parent")
    shown: Any = (await alice.get(room_path(room.room_id, "event", parent.event_id))).ok()
    found = shown["unsigned"]["m.relations"]
    assert found["m.replace"]["event_id"] == ids["m.replace"]
    assert found["m.thread"]["latest_event"]["event_id"] == ids["m.thread"]
    assert found["m.reference"] == {"chunk": [{"event_id": ids["m.reference"]}]}
    assert {event["event_id"] for event in (await alice.get(path)).ok()["chunk"]} == set(ids.values())
    assert [event["event_id"] for event in (await alice.get(threads)).ok()["chunk"]] == [parent.event_id]
    # Twice the same annotation: from elsewhere it is taken, and left to clients.
    again = relate(room, peer, parent, "m.annotation", base)
    await send(room, ours, peer, again)
    await until(lambda: has(again.event_id), what="the second annotation")
    # Other servers get events as they were signed.
    answer = await peer.request("GET", ours.server_name, federation("v1", "event", parent.event_id))
    assert "m.relations" not in str(answer.ok())
