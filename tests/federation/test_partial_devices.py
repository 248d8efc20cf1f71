"""Devices of the members of rooms that are entered without their members, and devices here that those are told of."""

from tests.federation.devices import has_read_all
from tests.federation.harness import Servers, until
from tests.federation.partial_rooms import MEMBER, PartialRoom, Stage, is_partial
from tests.federation.peer import Peer, Reply, federation
from tests.federation.peer_rooms import PeerRoom
from tests.key_holders import upload


def devices_told(peer: Peer) -> set[str]:
    """The devices with keys of which the peer has been told."""
    return {
        edu["content"]["device_id"]
        for heard in peer.heard_at("/send/")
        for edu in heard.json.get("edus", [])
        if edu["edu_type"] == "m.device_list_update" and "keys" in edu["content"]
    }


async def is_told(peer: Peer, device_id: str) -> None:
    """Wait until the peer has been told of the device."""

    async def is_so() -> bool:
        return device_id in devices_told(peer)

    await until(is_so, what=f"that {peer.server_name} is told of {device_id}")


async def test_a_server_stays_in_the_room_when_those_leave_who_are_known(
    servers: Servers, peer: Peer
) -> None:
    """It still has members, though nobody here knows them yet: it gets events, and updates of devices."""
    stage = await Stage.set(servers, peer, heroes=2)
    room = stage.partial.room
    for hero in stage.partial.heroes:
        leaving = room.make(MEMBER, {"membership": "leave"}, hero, sender=hero)
        room.accept(leaving)
        (await peer.send(stage.server.server_name, [leaving])).ok()
        await stage.seen(room.id_of(leaving))
    device = await upload(stage.alice)
    await is_told(peer, device.device_id)
    await stage.heard(await stage.alice.send(stage.room, "do you hear me?"))
    assert await is_partial(stage.server, stage.room)
    await stage.complete()


async def test_a_server_that_is_found_when_the_members_come_is_told_of_devices(
    servers: Servers, peer: Peer, numeric_peer: Peer
) -> None:
    """It has seen that she joined, and asked for her devices; it has not been sent what changed after that."""
    server = await servers.start()
    alice = await server.user("alice")
    partial = PartialRoom.create(peer)
    other = f"@other:{numeric_peer.server_name}"
    coming = partial.room.make(MEMBER, {"membership": "join"}, other, sender=other)
    partial.room.accept(PeerRoom(numeric_peer, partial.room.version, partial.room_id).seal(coming))
    numeric_peer.answer("PUT", federation("v1") + "send/{txn_id}", Reply({"pdus": {}}))
    await partial.join(alice)
    stage = Stage(server, alice, peer, partial)
    devices = [await upload(each) for each in (alice, await server.running.device(alice))]
    for each in devices:
        await is_told(peer, each.device_id)
    await has_read_all(server)
    assert not devices_told(numeric_peer)
    await stage.complete()
    await is_told(numeric_peer, devices[-1].device_id)
