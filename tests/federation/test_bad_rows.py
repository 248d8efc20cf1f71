"""One row of the database that is spoilt harms what rests on it, and nothing else. Reliability P9."""

from collections.abc import Collection

import pytest
from sqlalchemy import update

from homeserver.core.identifiers import EventID, RoomID
from homeserver.database.statements import in_list, statement
from homeserver.database.tables.events import events
from homeserver.database.transactions import WriteTransaction
from homeserver.storage import incoming_pdus
from tests.federation.harness import Servers, until
from tests.federation.peer import Peer
from tests.federation.scene import Scene, set_scene, set_scene_with

SPOIL = statement(update(events).where(in_list(events.c.event_id, "event_ids")).values(pdu=b'{"type":'))


def spoil(tx: WriteTransaction, event_ids: Collection[EventID]) -> None:
    tx.execute(SPOIL, event_ids=sorted(event_ids))


@pytest.fixture
async def scene(servers: Servers, peer: Peer) -> Scene:
    return await set_scene(servers, peer)


async def test_events_of_other_rooms_are_taken(scene: Scene) -> None:
    other = await set_scene_with(scene.server, scene.alice, scene.peer)
    since = (await scene.alice.sync())["next_batch"]
    member = scene.room.state["m.room.member", scene.mallory]
    await scene.server.running.server.database.write(spoil, [member])
    # What was read before is not looked up again.
    await scene.server.stop()
    await scene.server.start()
    scene.server.reconnect(scene.alice)
    answer = await scene.send([scene.says("stuck"), other.says("good")])
    assert list(answer.ok()["pdus"].values()) == [{}, {}]
    await other.seen("good")
    rooms = (await scene.alice.sync(since))["rooms"]["join"]
    assert rooms[other.room.room_id]["timeline"]["events"][-1]["content"]["body"] == "good"
    # What cannot be shown is left out, until somebody has mended it.
    assert (await scene.alice.sync())["rooms"]["join"].keys() == {other.room.room_id}
    sent = await scene.alice.send(other.room.room_id, "and on")

    async def is_sent() -> bool:
        return sent in other.room.events

    await until(is_sent, what="that the peer is sent what comes next")
    database = scene.server.running.server.database
    assert await database.read(incoming_pdus.count_all, RoomID(scene.room.room_id)) == 1
