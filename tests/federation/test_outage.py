"""A server that was gone for an hour gets all that it has missed, and its users see all of it."""

import os
import time
from typing import Any, cast

from twisted.internet import reactor
from twisted.internet.task import deferLater

from tests.api.server import Client, path_of, room_path
from tests.federation.clocks import MovableClock
from tests.federation.harness import FederatedServer, Servers
from tests.federation.views import RoomContents, room_contents, undone

EVENTS = int(os.environ.get("HOMESERVER_TEST_EVENTS", "240"))
"""10,000 by hand, with HOMESERVER_TEST_PATIENCE=600."""

ROOMS = max(4, EVENTS // 100)
SPELLS = 6
"""The hour passes in so many steps, between which there is talk."""

PATIENCE_S = 30 if EVENTS < 1_000 else 500


async def test_all_that_was_missed_in_an_hour_arrives(servers: Servers) -> None:
    """Messages and state in many rooms; at the end both servers hold the same, and the client finds all messages."""
    clock = MovableClock()
    here, there = await servers.start(clock=clock), await servers.start(clock=clock)
    alice, bob = await here.user("alice"), await there.user("bob")
    rooms = await shared_rooms(here, alice, bob)
    since = (await bob.sync(filter={"room": {"timeline": {"limit": 1}}}))["next_batch"]
    await there.stop()
    sent: dict[str, list[str]] = {room_id: [] for room_id in rooms}
    for spell in range(SPELLS):
        for number in range(spell, EVENTS, SPELLS):
            room_id = rooms[number % len(rooms)]
            if number % 10 == 3:
                topic = {"topic": f"topic {number}"}
                sent[room_id].append(await alice.set_state(room_id, "m.room.topic", topic))
            else:
                sent[room_id].append(await alice.send(room_id, f"message {number}"))
        # The server closes connections that were idle for so long, just when the next request may be on its way.
        await cast("Any", alice.pool.closeCachedConnections())
        clock.advance(hours=1 / SPELLS)
    began = time.monotonic()
    await there.start()
    there.reconnect(bob)
    clock.advance(hours=1)
    await until_the_same(here, there, sent)
    took = time.monotonic() - began
    print(f"{EVENTS} events in {ROOMS} rooms, caught up in {took:.1f} s, {EVENTS / took:.0f} per second")
    answer = await bob.sync(since, filter={"room": {"timeline": {"limit": 5}}})
    assert answer["rooms"]["join"].keys() == set(rooms)
    for room_id in rooms:
        part = answer["rooms"]["join"][room_id]["timeline"]
        seen = [event["event_id"] for event in part["events"]]
        seen = await before(bob, room_id, part["prev_batch"], len(sent[room_id])) + seen
        assert seen[-len(sent[room_id]) :] == sent[room_id]


async def shared_rooms(here: FederatedServer, alice: Client, bob: Client) -> list[str]:
    """Rooms of Alice's that Bob has joined."""
    made = []
    for number in range(ROOMS):
        version = ["11", "12"][number % 2]
        room_id = await alice.create_room(preset="public_chat", room_version=version)
        path = path_of("join", room_id)
        (await bob.request("POST", path, {}, query={"via": here.server_name})).ok()
        made.append(room_id)
    return made


async def until_the_same(here: FederatedServer, there: FederatedServer, sent: dict[str, list[str]]) -> None:
    """Wait until the other server has processed all that was sent."""
    deadline = cast("Any", reactor).seconds() + PATIENCE_S
    open_rooms = set(sent)
    while open_rooms:
        for room_id in sorted(open_rooms):
            held = await contents(there, room_id)
            if set(sent[room_id]) <= held.accepted:
                open_rooms.discard(room_id)
        assert cast("Any", reactor).seconds() < deadline, (
            f"{len(open_rooms)} of {len(sent)} rooms lack something"
        )
        await deferLater(cast("Any", reactor), 0.1)
    assert await there.running.server.database.read(undone) == 0
    for room_id in sent:
        ours, theirs = await contents(here, room_id), await contents(there, room_id)
        assert theirs.state == ours.state
        assert theirs.extremities == ours.extremities


async def contents(server: FederatedServer, room_id: str) -> RoomContents:
    """The room there."""
    found = await server.running.server.database.read(room_contents, room_id)
    assert found is not None
    return found


async def before(client: Client, room_id: str, token: str, most: int) -> list[str]:
    """The events before a token, oldest first."""
    found: list[str] = []
    while len(found) < most:
        answer = (
            await client.get(room_path(room_id, "messages"), dir="b", limit=100, **{"from": token})
        ).ok()
        found += [event["event_id"] for event in answer["chunk"]]
        if "end" not in answer:
            break
        token = answer["end"]
    return found[::-1]
