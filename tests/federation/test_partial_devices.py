"""Devices of the members of rooms that are entered without their members, and devices here that those are told of."""

from typing import Any, Final

from twisted.internet.defer import Deferred

from tests.api.client.sliding_sync.harness import Sliding
from tests.federation.devices import has_read_all
from tests.federation.harness import Servers, until
from tests.federation.partial_rooms import LAZY, MEMBER, PartialRoom, Stage, is_partial
from tests.federation.peer import Peer, Reply, federation
from tests.federation.peer_rooms import PeerRoom
from tests.key_holders import CHANGES, Device, upload

E2EE: Final[dict[str, Any]] = {"extensions": {"e2ee": {"enabled": True}}}


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


async def test_members_are_announced_when_they_come(servers: Servers, peer: Peer) -> None:
    """Client-server API: "who now share an encrypted room with the client since the previous sync response".

    Whatever a client has been told while they were unknown, and however it asks; also whose devices changed then.
    """
    stage = await Stage.set(servers, peer, heroes=1, encrypted=True)
    alice, members = stage.alice, {*stage.partial.members, stage.partial.room.creator}
    sliding = Sliding(alice)
    await sliding.ask(**E2EE)
    before = (await alice.sync())["next_batch"]
    member = stage.partial.members[3]
    update = {"user_id": member, "device_id": "NEW", "stream_id": 5, "prev_id": [4]}
    edu = {"edu_type": "m.device_list_update", "content": {**update, "keys": Device(member, "NEW").keys()}}
    (await peer.send(stage.server.server_name, [], [edu])).ok()
    await stage.seen(await stage.partial.say(stage.server, "hello", sender=member))
    during = (await alice.sync(before))["next_batch"]
    await sliding.ask(**E2EE)
    waiting = Deferred.fromCoroutine(alice.sync(during, timeout=20_000))
    await stage.complete()
    after = await waiting
    told = [
        after["device_lists"],
        (await alice.sync(during, filter=LAZY))["device_lists"],
        (await alice.get(CHANGES, **{"from": during, "to": after["next_batch"]})).ok(),
        (await sliding.ask(**E2EE))["extensions"]["e2ee"]["device_lists"],
    ]
    assert [{*each["changed"]} for each in told] == [members] * 4
    assert not any(each["left"] for each in told)
    # Once is enough.
    assert "device_lists" not in await alice.sync(after["next_batch"])
    assert "device_lists" not in (await sliding.ask(**E2EE))["extensions"].get("e2ee", {})


async def test_who_was_known_and_has_left_is_not_announced(servers: Servers, peer: Peer) -> None:
    """Whether a client hears of it before the members come or with them."""
    stage = await Stage.set(servers, peer, heroes=2, encrypted=True)
    room, since = stage.partial.room, (await stage.alice.sync())["next_batch"]
    for hero in stage.partial.heroes:
        leaving = room.make(MEMBER, {"membership": "leave"}, hero, sender=hero)
        room.accept(leaving)
        (await peer.send(stage.server.server_name, [leaving])).ok()
        await stage.seen(room.id_of(leaving))
    await stage.complete()
    told = (await stage.alice.sync(since))["device_lists"]
    assert {*told["changed"]} == {*stage.partial.members[2:], room.creator}
    assert {*told["left"]} == {*stage.partial.heroes}
