"""MSC4354 between servers: who is in a room when an event is sent gets it, and so does who comes in while it sticks."""

from typing import Any

import pytest

from homeserver.core.sticky_events import KEY
from homeserver.runtime.clock import SystemClock
from tests.api.client.test_sticky_events import HOUR_MS, RTC, STICKY, TTL, bury, stick, told
from tests.api.server import Client, room_path
from tests.federation.conftest import Two
from tests.federation.harness import Servers, cut, mend, until
from tests.federation.meetings import join_via, sees
from tests.federation.peer import Peer
from tests.federation.peer_rooms import Pdu
from tests.federation.scene import Scene, set_scene


async def names(client: Client, room: str) -> set[str]:
    """The sticky events of the room, in the timeline or beside it, of a first sync."""
    answer = await client.sync()
    joined = answer.get("rooms", {}).get("join", {}).get(room, {})
    shown = [event for event in joined.get("timeline", {}).get("events", []) if TTL in event["unsigned"]]
    return {event["content"]["msc4354_sticky_key"] for event in shown} | set(told(answer, room))


async def has(client: Client, room: str, *wanted: str) -> None:
    async def is_so() -> bool:
        return await names(client, room) == {*wanted}

    await until(is_so, what=f"{wanted} are shown")


async def test_who_is_there_gets_it(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room(preset="public_chat")
    await join_via(bob, room, two.one)
    await sees(alice, room, bob.user_id, "join")
    await stick(alice, room, "from alice")
    await stick(bob, room, "from bob")
    for client in (alice, bob):
        await has(client, room, "from alice", "from bob")


async def test_who_comes_in_gets_what_sticks(two: Two) -> None:
    """Though it is before their time, and not in what the join brings."""
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room(preset="public_chat")
    for number in range(3):
        await stick(alice, room, f"before {number}")
    await bury(alice, room)
    await join_via(bob, room, two.one)
    await has(bob, room, "before 0", "before 1", "before 2")


async def test_of_three_servers_each_sends_its_own(servers: Servers) -> None:
    one, two, three = [await servers.start() for _ in range(3)]
    alice, bob, carol = await one.user("alice"), await two.user("bob"), await three.user("carol")
    room = await alice.create_room(preset="public_chat")
    await join_via(bob, room, one)
    await sees(alice, room, bob.user_id, "join")
    await stick(alice, room, "from alice")
    await stick(bob, room, "from bob")
    await has(alice, room, "from alice", "from bob")
    await bury(alice, room)
    await join_via(carol, room, one)
    await has(carol, room, "from alice", "from bob")


async def test_who_was_away_gets_what_sticks_however_much_was_missed(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room(preset="public_chat")
    await join_via(bob, room, two.one)
    await sees(alice, room, bob.user_id, "join")
    cut(two.one, two.other)
    await stick(alice, room, "missed")
    await bury(alice, room, 120)
    mend(two.one, two.other)
    await alice.send(room, "last")
    await has(bob, room, "missed")


async def test_a_stop_of_the_sender_changes_nothing(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room(preset="public_chat")
    await stick(alice, room, "before the stop")
    await bury(alice, room)
    await two.one.stop()
    await two.one.start()
    two.one.reconnect(alice)
    await join_via(bob, room, two.one)
    await has(bob, room, "before the stop")


@pytest.fixture
async def scene(servers: Servers, peer: Peer) -> Scene:
    return await set_scene(servers, peer)


def sticky(scene: Scene, name: str, said: object) -> Pdu:
    """A PDU of Mallory's that says of itself for how long it sticks."""
    content = {"msc4354_sticky_key": name}
    fields: dict[str, Any] = {KEY: said}
    return scene.room.make(RTC, content, sender=scene.mallory, **fields)


async def test_what_an_event_says_of_itself(scene: Scene) -> None:
    """What is no duration is no stickiness, and nothing is refused for that."""
    strange = [None, "x", {}, {"duration_ms": "1"}, {"duration_ms": -1}, {"duration_ms": True}, {"x": 1}]
    pdus = [sticky(scene, f"strange {number}", each) for number, each in enumerate(strange)]
    pdus.append(sticky(scene, "good", {"duration_ms": 600_000}))
    (await scene.send(pdus)).ok()
    await has(scene.alice, scene.room.room_id, "good")
    for pdu in pdus:
        assert await scene.shows(scene.room.id_of(pdu))


async def test_nothing_sticks_for_longer_than_an_hour(scene: Scene) -> None:
    """Nor from a moment that is still to come."""
    later = SystemClock().now_ts() + 60_000
    content = {"msc4354_sticky_key": "far"}
    fields: dict[str, Any] = {"origin_server_ts": later, KEY: {"duration_ms": 100 * HOUR_MS}}
    far = scene.room.make(RTC, content, sender=scene.mallory, **fields)
    (await scene.send([far, sticky(scene, "long", {"duration_ms": 2**53 - 1})])).ok()
    await has(scene.alice, scene.room.room_id, "far", "long")
    answer = await scene.alice.sync()
    joined = answer["rooms"]["join"][scene.room.room_id]
    events = [*joined["timeline"]["events"], *joined.get(STICKY, {}).get("events", [])]
    left = [event["unsigned"][TTL] for event in events if STICKY in event]
    assert len(left) == 2
    assert all(0 < each <= HOUR_MS for each in left)


async def test_what_is_soft_failed_is_shown_when_the_state_allows_it(scene: Scene) -> None:
    """MSC4354: soft-failed events that stick are looked at again when the state changes."""
    room_id = scene.room.room_id
    levels = (await scene.alice.get(room_path(room_id, "state", "m.room.power_levels"))).ok()
    await scene.alice.set_state(room_id, "m.room.power_levels", {**levels, "events_default": 50})
    late = sticky(scene, "late", {"duration_ms": 600_000})
    (await scene.send([late])).ok()
    await scene.alice.send(room_id, "meanwhile")
    await has(scene.alice, room_id)
    await scene.alice.set_state(room_id, "m.room.power_levels", levels)
    await has(scene.alice, room_id, "late")


async def test_a_redacted_event_sticks_no_more(two: Two) -> None:
    alice, bob = await two.one.user("alice"), await two.other.user("bob")
    room = await alice.create_room(preset="public_chat")
    await join_via(bob, room, two.one)
    await sees(alice, room, bob.user_id, "join")
    event_id = await stick(alice, room, "regretted")
    await has(bob, room, "regretted")
    (await alice.put(room_path(room, "redact", event_id, "t"), {})).ok()
    await has(bob, room)
