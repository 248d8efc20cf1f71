"""Whatever the order in which events arrive: the same state, the same verdicts, and those of the reference."""

import random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from homeserver.core.event import Event
from homeserver.core.identifiers import EventID, UserID
from homeserver.rooms.judge import Lacking, Verdict
from homeserver.storage import events
from tests.rooms.holding import check_rows, enter, held, receive
from tests.rooms.signed_rooms import ALICE, BOB, CAROL, FAMILIES, SignedRoom
from tests.storage.store import Store, sqlite_store

USERS = [ALICE, BOB, CAROL]


def grow(room: SignedRoom, draw: random.Random, size: int) -> None:
    """Let members say and do things on forks, also what they may not."""
    base = room.last
    heads: list[Event] = [base]
    for _ in range(size):
        parents = draw.sample(heads, min(len(heads), draw.choice([1, 1, 1, 2, 3])))
        sender = draw.choice(USERS)
        event = act(room, draw, sender, parents)
        heads = [each for each in heads if each not in parents or draw.random() < 0.3]
        heads.append(event)
        heads = heads[-5:]


def act(room: SignedRoom, draw: random.Random, sender: UserID, parents: list[Event]) -> Event:
    other = draw.choice(USERS)
    creator_is_privileged = room.version.privileged_creators
    levels: dict[str, Any] = {"users": {BOB: draw.choice([0, 50, 100])}}
    if not creator_is_privileged:
        levels["users"][ALICE] = 100
    kind = draw.randrange(9)
    if kind == 0:
        return room.send("m.room.topic", sender, {"topic": str(draw.random())}, "", prev=parents)
    if kind == 1:
        return room.send("m.room.power_levels", sender, levels, "", prev=parents)
    if kind == 2:
        return room.send("m.room.member", sender, {"membership": "ban"}, other, prev=parents)
    if kind == 3:
        return room.send("m.room.member", sender, {"membership": "leave"}, other, prev=parents)
    if kind == 4:
        return room.join(sender, prev=parents)
    if kind == 5:
        rule = draw.choice(["public", "invite"])
        return room.send("m.room.join_rules", sender, {"join_rule": rule}, "", prev=parents)
    if kind == 6:
        return room.send("m.room.member", sender, {"membership": "invite"}, other, prev=parents)
    return room.say(sender, prev=parents)


def deliver(store: Store, room: SignedRoom, order: list[Event]) -> dict[EventID, Verdict]:
    """Deliver events in this order, again and again as long as parents are missing."""
    verdicts: dict[EventID, Verdict] = {}
    waiting = list(order)
    while waiting:
        left = []
        for event in waiting:
            (pdu,) = room.checked_at_once(event)
            found = store.write(receive, pdu)
            if isinstance(found, Lacking):
                left.append(event)
            else:
                verdicts[event.event_id] = found
        assert len(left) < len(waiting)
        waiting = left
    return verdicts


def new_room(version: str) -> tuple[SignedRoom, list[Event]]:
    room = SignedRoom.new(version)
    room.join(BOB)
    room.join(CAROL)
    return room, list(room.events.values())


@pytest.mark.parametrize("version", FAMILIES)
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 10**9), size=st.integers(1, 14))
def test_any_order_leads_to_the_state_of_the_reference(version: str, seed: int, size: int) -> None:
    draw = random.Random(seed)
    room, base = new_room(version)
    grow(room, draw, size)
    new = [event for event in room.events.values() if event not in base]
    orders = [new, draw.sample(new, len(new)), [*new[::-1], *new]]
    for order in orders:
        with sqlite_store() as store:
            store.write(enter, room, base)
            deliver(store, room, order)
            found = store.read(held, room)
        rejected = {event.event_id for event in room.events.values() if event.rejected}
        assert {each for each, status in found.statuses.items() if status == events.REJECTED} == rejected
        assert set(found.statuses) == set(room.events)
        for event in new:
            assert found.befores[event.event_id] == room.before(event.prev_events), event
        # The current state is that of the extremities, whichever they are, and the rows follow it.
        assert found.state == room.before(sorted(found.extremities))
        check_rows(room, found)


@pytest.mark.parametrize("version", FAMILIES)
def test_both_databases(store: Store, version: str) -> None:
    draw = random.Random(7)
    room, base = new_room(version)
    grow(room, draw, 25)
    new = [event for event in room.events.values() if event not in base]
    store.write(enter, room, base)
    deliver(store, room, draw.sample(new, len(new)))
    found = store.read(held, room)
    for event in new:
        assert found.befores[event.event_id] == room.before(event.prev_events)
    assert found.state == room.before(sorted(found.extremities))
    check_rows(room, found)
