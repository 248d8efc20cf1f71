"""Which events of a state with its auth chain may be taken."""

import random

import attrs
import pytest

from homeserver.core.event import Event
from homeserver.core.identifiers import EventID, RoomID
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.rooms.auth_chains import AuthChain, check_auth_chain
from tests.rooms.signed_rooms import ALICE, BOB, FAMILIES, SignedRoom


def judge(room: SignedRoom, *events: Event, create: Event | None = None) -> AuthChain:
    bag = room.checked_at_once(*events)
    random.Random(len(bag)).shuffle(bag)
    return check_auth_chain(room.room_id, bag, {}, create=create)


@pytest.mark.parametrize("version", FAMILIES)
def test_a_sound_room_is_allowed_whatever_the_order(version: str) -> None:
    room = SignedRoom.new(version)
    room.join(BOB)
    room.send("m.room.topic", ALICE, {"topic": "t"}, "")
    chain = judge(room, *room.events.values())
    assert {pdu.event.event_id for pdu in chain.allowed} == set(room.events)
    assert (chain.rejected, chain.unusable) == ({}, {})
    assert chain.create is not None
    assert chain.create.type == "m.room.create"
    order = [pdu.event.event_id for pdu in chain.judged]
    for pdu in chain.judged:
        for cited in pdu.event.auth_events:
            assert order.index(cited) < order.index(pdu.event.event_id)


def test_what_the_rules_refuse_is_rejected_and_so_is_what_rests_on_it() -> None:
    room = SignedRoom.new()
    room.join(BOB)
    sound = set(room.events)
    coup = room.send("m.room.power_levels", BOB, {"users": {BOB: 100}}, "")
    auth = [each for each in coup.auth_events if room.events[each].type != "m.room.power_levels"]
    after = room.send("m.room.topic", BOB, {"topic": "mine"}, "", auth=[*auth, coup.event_id])
    chain = judge(room, *room.events.values())
    assert {pdu.event.event_id for pdu in chain.allowed} == sound
    assert set(chain.rejected) == {coup.event_id, after.event_id}
    assert chain.rejected[after.event_id] == "auth_events has no event that was rejected itself"


def test_what_cites_events_that_are_not_there_cannot_be_used() -> None:
    room = SignedRoom.new()
    joined = room.join(BOB)
    topic = room.send("m.room.topic", BOB, {"topic": "t"}, "")
    events = [event for event in room.events.values() if event != joined]
    assert judge(room, *events).unusable == {topic.event_id: "it cites events that are not there"}


def test_events_that_are_known_need_not_be_in_the_bag() -> None:
    room = SignedRoom.new()
    create, *rest = room.events.values()
    joined = room.join(BOB)
    known = {event.event_id: event for event in (create, *rest)}
    chain = check_auth_chain(room.room_id, room.checked_at_once(joined, create), known, create=create)
    assert [pdu.event for pdu in chain.judged] == [joined]
    refused = {**known, joined.auth_events[1]: attrs.evolve(known[joined.auth_events[1]], rejected=True)}
    chain = check_auth_chain(room.room_id, room.checked_at_once(joined), refused, create=create)
    assert set(chain.rejected) == {joined.event_id}


def test_circles_cannot_be_used() -> None:
    room = SignedRoom.new()
    one, two = room.say(ALICE), room.say(ALICE)
    looped = attrs.evolve(one, auth_events=(two.event_id,)), attrs.evolve(two, auth_events=(one.event_id,))
    chain = judge(room, *looped)
    assert chain.judged == ()
    assert set(chain.unusable) == {one.event_id, two.event_id}


def test_events_of_other_rooms_cannot_be_used() -> None:
    room = SignedRoom.new()
    other = SignedRoom(ROOM_VERSIONS["10"], RoomID("!other:a.example"))
    create = other.send("m.room.create", ALICE, {"room_version": "10", "creator": ALICE}, "", prev=[])
    chain = judge(room, *room.events.values(), create)
    assert set(chain.unusable) == {create.event_id}


@pytest.mark.parametrize("version", FAMILIES)
def test_a_second_create_event_is_not_allowed(version: str) -> None:
    room = SignedRoom.new(version)
    create = next(iter(room.events.values()))
    second = room.send("m.room.create", ALICE, {**create.content, "more": True}, "", prev=[])
    chain = judge(room, *room.events.values(), create=create)
    assert second.event_id in {**chain.rejected, **chain.unusable}
    assert EventID(create.event_id) not in chain.rejected
