"""Receiving events with gaps, from servers that tell the truth, or not all of it, or something else."""

from typing import Any

import pytest

from homeserver.core.errors import NotFound
from homeserver.core.event import Event
from homeserver.core.identifiers import EventID, RoomID, ServerName
from homeserver.core.json import JsonObject
from homeserver.database.database import Database
from homeserver.database.transactions import WriteTransaction
from homeserver.rooms.judge import Verdict
from homeserver.rooms.missing import Incomplete
from homeserver.rooms.receive import Receiver
from homeserver.storage import backward_extremities, events, rooms
from tests.rooms.holding import Held, check_rows, enter, held
from tests.rooms.remote_rooms import Remote, receiver
from tests.rooms.signed_rooms import ALICE, BOB, CAROL, FAMILIES, SignedRoom
from tests.services.conftest import MovableClock

B = ServerName("b.example")


async def started(database: Database, version: str = "10") -> SignedRoom:
    """A room with Bob, held by the server of Alice."""
    room = SignedRoom.new(version)
    room.join(BOB)
    await database.write(enter, room, list(room.events.values()))
    return room


async def take(receiving: Receiver, room: SignedRoom, event: Event) -> Verdict:
    (pdu,) = await room.checked(event)
    return await receiving.receive(room.room_id, pdu, origin=B)


def befores_are_right(room: SignedRoom, found: Held) -> None:
    for event_id, before in found.befores.items():
        assert before == room.before(room.events[event_id].prev_events)
    assert found.state == room.before(sorted(found.extremities))
    check_rows(room, found)


@pytest.mark.parametrize("version", FAMILIES)
async def test_what_is_missing_in_between_is_fetched(
    database: Database, clock: MovableClock, version: str
) -> None:
    room = await started(database, version)
    remote = Remote(room)
    for number in range(130):
        if number % 10 == 0:
            room.send("m.room.topic", ALICE, {"topic": str(number)}, "")
        room.say(BOB, str(number))
    verdict = await take(receiver(database, clock, remote), room, room.last)
    assert verdict == Verdict(events.ACCEPTED)
    found = await database.read(held, room)
    assert set(found.statuses) == set(room.events)
    assert found.extremities == {room.last.event_id}
    befores_are_right(room, found)
    assert {each for each, _ in remote.asked} == {"missing_events"}
    assert remote.count("missing_events") <= 4


@pytest.mark.parametrize("version", FAMILIES)
async def test_a_gap_is_bridged_by_the_state_at_it(
    database: Database, clock: MovableClock, version: str
) -> None:
    room = await started(database, version)
    room.join(CAROL)
    topic = room.send("m.room.topic", ALICE, {"topic": "new"}, "")
    lost = room.say(BOB, "lost")
    last = room.say(CAROL, "after the gap")
    remote = Remote(room, lost={lost.event_id})
    assert (await take(receiver(database, clock, remote), room, last)).is_accepted
    found = await database.read(held, room)
    assert found.state["m.room.topic", ""] == topic.event_id
    assert found.members == {ALICE: "join", BOB: "join", CAROL: "join"}
    assert found.befores[last.event_id] == room.before(last.prev_events)
    check_rows(room, found)
    nid = (await database.read(rooms.of, room.room_id)).room_nid  # type: ignore[union-attr]  # JSON
    assert await database.read(backward_extremities.children, nid, lost.event_id) == [events.ACCEPTED]
    # What comes late takes its place, and is no extremity.
    assert (await take(receiver(database, clock, Remote(room)), room, lost)).is_accepted
    found = await database.read(held, room)
    assert last.event_id in found.extremities
    assert lost.event_id not in found.extremities
    assert await database.read(backward_extremities.children, nid, lost.event_id) == []
    befores_are_right(room, found)


async def test_a_large_state_is_fetched_as_a_whole(database: Database, clock: MovableClock) -> None:
    room = await started(database)
    for number in range(80):
        room.send("m.test", ALICE, {"n": number}, str(number))
    lost = room.say(BOB, "lost")
    last = room.say(BOB, "after")
    remote = Remote(room, lost={lost.event_id})
    assert (await take(receiver(database, clock, remote), room, last)).is_accepted
    assert (remote.count("state"), remote.count("event")) == (1, 1)
    found = await database.read(held, room)
    assert found.befores[last.event_id] == room.before(last.prev_events)
    assert found.state == found.befores[last.event_id]


async def test_a_gap_beside_a_known_parent_is_resolved(database: Database, clock: MovableClock) -> None:
    room = await started(database)
    base = room.last
    room.send("m.room.topic", ALICE, {"topic": "theirs"}, "", prev=[base])
    lost = room.say(BOB, "lost")
    ours = room.send("m.room.name", ALICE, {"name": "ours"}, "", prev=[base])
    merging = room.say(BOB, "both", prev=[ours, lost])
    remote = Remote(room, lost={lost.event_id})
    receiving = receiver(database, clock, remote)
    assert (await take(receiving, room, ours)).is_accepted
    assert (await take(receiving, room, merging)).is_accepted
    found = await database.read(held, room)
    assert found.befores[merging.event_id] == room.before(merging.prev_events)
    assert found.extremities == {merging.event_id}


async def test_unknown_auth_events_are_fetched(database: Database, clock: MovableClock) -> None:
    room = await started(database)
    base = room.last
    side = room.send("m.room.power_levels", ALICE, {"users": {ALICE: 100, BOB: 50}}, "", prev=[base])
    topic = room.send("m.room.topic", BOB, {"topic": "by Bob"}, "", prev=[side])
    # The state before it, which is all there is to get to it, knows nothing of what it cites.
    odd = room.send("m.room.message", BOB, {}, prev=[base], auth=topic.auth_events)
    remote = Remote(room)
    assert (await take(receiver(database, clock, remote), room, odd)).is_accepted
    assert remote.count("event_auth") == 1
    found = await database.read(held, room)
    assert found.statuses[side.event_id] == events.OUTLIER
    assert ("m.room.topic", "") not in found.state


@pytest.mark.parametrize("silent", [{"event_auth"}, {"state_ids", "missing_events"}])
async def test_what_nobody_tells_leaves_it_incomplete(
    database: Database, clock: MovableClock, silent: set[str]
) -> None:
    room = await started(database)
    base = room.last
    room.send("m.room.power_levels", ALICE, {"users": {ALICE: 100, BOB: 50}}, "", prev=[base])
    last = room.say(BOB)
    remote = Remote(room, silent=silent | {"missing_events"})
    with pytest.raises(Incomplete):
        await take(receiver(database, clock, remote), room, last)
    found = await database.read(held, room)
    assert found.extremities == {base.event_id}
    # Another time it may be better.
    assert (await take(receiver(database, clock, Remote(room)), room, last)).is_accepted
    befores_are_right(room, await database.read(held, room))


async def test_an_ancestor_that_cannot_be_judged_is_left_out(database: Database, clock: MovableClock) -> None:
    room = await started(database)
    base = room.last
    side = room.send("m.room.power_levels", ALICE, {"users": {ALICE: 100, BOB: 50}}, "", prev=[base])
    topic = room.send("m.room.topic", BOB, {"topic": "by Bob"}, "", prev=[side])
    odd = room.send("m.room.message", BOB, {}, prev=[base], auth=topic.auth_events)
    last = room.say(BOB, "on top", prev=[odd])
    remote = Remote(room, silent={"event_auth"})
    assert (await take(receiver(database, clock, remote), room, last)).is_accepted
    found = await database.read(held, room)
    assert odd.event_id not in found.statuses
    assert found.befores[last.event_id] == room.before(last.prev_events)


async def test_events_that_lead_nowhere_are_not_taken(database: Database, clock: MovableClock) -> None:
    """What a server gives beside what was asked for is not part of the room's history."""
    room = await started(database)
    base = room.last
    room.say(BOB, "missing", prev=[base])
    last = room.say(BOB, "last")
    stray = room.say(BOB, "stray", prev=[base])

    class Generous(Remote):
        async def missing_events(self, *args: Any, **kwargs: Any) -> list[JsonObject] | None:
            given = await Remote.missing_events(self, *args, **kwargs)
            return [*(given or []), self.room.pdu(stray)]

    assert (await take(receiver(database, clock, Generous(room)), room, last)).is_accepted
    found = await database.read(held, room)
    assert stray.event_id not in found.statuses
    assert found.extremities == {last.event_id}


async def test_parents_without_end_are_given_up(database: Database, clock: MovableClock) -> None:
    room = await started(database)
    base = room.last
    spine = [room.say(BOB, "0", prev=[base])]
    for number in range(1_000):
        spine.append(room.say(BOB, str(number), prev=[spine[-1]]))
        # The reference need not remember them all.
        room.states.pop(spine[-2].event_id)
    room.states[base.event_id] = room.states[spine[-1].event_id]
    for event in spine:
        room.states[event.event_id] = room.states[base.event_id]
    remote = Remote(room)
    assert (await take(receiver(database, clock, remote), room, spine[-1])).is_accepted
    assert remote.count("missing_events") == 10
    assert remote.count("state_ids") == 1
    found = await database.read(held, room)
    assert len(found.statuses) < 600


async def test_history_from_before_this_server_came_is_not_fetched(
    database: Database, clock: MovableClock
) -> None:
    """An event beside the join of this server has parents that precede it: their state is enough."""
    room = SignedRoom.new("10")
    for number in range(30):
        room.say(ALICE, str(number))
    base = room.last
    joined = room.join(BOB)
    first, *_ = room.events.values()
    us = ServerName("b.example")
    # As if this server had been told the state by the one that let it in.
    told = [event for event in room.events.values() if event.is_state and event != joined]
    await database.write(enter, room, [*told, joined], us=us)
    await database.write(forget_timeline, [event.event_id for event in told], joined)
    beside = room.say(ALICE, "beside the join", prev=[base])
    remote = Remote(room)
    receiving = receiver(database, clock, remote, us=us)
    (pdu,) = await room.checked(beside)
    assert (await receiving.receive(room.room_id, pdu, origin=ServerName("a.example"))).is_accepted
    assert remote.count("state_ids") == 1
    found = await database.read(held, room)
    assert base.event_id not in {each for each, status in found.statuses.items() if status == events.ACCEPTED}
    assert len(found.statuses) == len(told) + 3
    assert first.event_id in found.statuses
    assert found.befores[beside.event_id] == room.before(beside.prev_events)
    assert found.extremities == {joined.event_id, beside.event_id}


async def test_history_that_is_given_unasked_is_not_taken(database: Database, clock: MovableClock) -> None:
    """Synapse gives missing events from below any depth: they are no news, and would come out of order."""
    room = SignedRoom.new("10")
    for number in range(30):
        room.say(ALICE, str(number))
    base = room.last
    joined = room.join(BOB)
    us = ServerName("b.example")
    told = [event for event in room.events.values() if event.is_state and event != joined]
    await database.write(enter, room, [*told, joined], us=us)
    await database.write(forget_timeline, [event.event_id for event in told], joined)
    beside = room.say(ALICE, "beside the join", prev=[base])
    tied = room.say(ALICE, "on both", prev=[joined, beside])
    receiving = receiver(database, clock, Remote(room, heeds_depth=False), us=us)
    (pdu,) = await room.checked(tied)
    assert (await receiving.receive(room.room_id, pdu, origin=ServerName("a.example"))).is_accepted
    found = await database.read(held, room)
    accepted = {each for each, status in found.statuses.items() if status == events.ACCEPTED}
    assert accepted == {joined.event_id, beside.event_id, tied.event_id}
    assert found.extremities == {tied.event_id}


def forget_timeline(tx: WriteTransaction, event_ids: list[EventID], joined: Event) -> None:
    """Have events known only as parts of the state, and the last one the only extremity."""
    room = rooms.of(tx, joined.room_id)
    assert room is not None
    only = rooms.extremities_json([(joined.event_id, joined.depth)])
    rooms.set_extremities(tx, room.room_nid, only)
    for event_id in event_ids:
        stored = events.of(tx, event_id)
        assert stored is not None
        outlier = {name: getattr(stored, name) for name in ("generation", "thread_id", "replaces_nid")}
        outlier |= {"position": None, "state_root": None, "root_after": None, "is_outbound": 0, "notify": 0}
        tx.execute(events.PLACE, the_event=stored.event_nid, status=events.OUTLIER, **outlier)


async def test_rejected_before_its_parents_are_known(database: Database, clock: MovableClock) -> None:
    """What its own auth events do not allow is not worth a question."""
    room = await started(database)
    room.say(ALICE, "missing")
    coup = room.send("m.room.power_levels", BOB, {"users": {BOB: 100}}, "")
    remote = Remote(room)
    verdict = await take(receiver(database, clock, remote), room, coup)
    assert verdict.status == events.REJECTED
    assert remote.asked == []
    assert (await database.read(held, room)).statuses[coup.event_id] == events.REJECTED
    # What comes after it is no worse for that.
    after = room.say(BOB, "after")
    assert (await take(receiver(database, clock, remote), room, after)).is_accepted
    befores_are_right(room, await database.read(held, room))


async def test_a_room_that_this_server_is_not_in(database: Database, clock: MovableClock) -> None:
    room = await started(database)
    other = SignedRoom.new("10")
    other.room_id = RoomID("!elsewhere:b.example")
    event = other.say(ALICE)
    receiving = receiver(database, clock, Remote(other))
    with pytest.raises(NotFound):
        await take(receiving, other, event)
    away = receiver(database, clock, Remote(room), us=ServerName("nobody.example"))
    (pdu,) = await room.checked(room.say(ALICE))
    with pytest.raises(NotFound):
        await away.receive(room.room_id, pdu, origin=B)
