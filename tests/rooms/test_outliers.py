"""Events without a place in the history, in bulk."""

import pytest

from homeserver.database.transactions import ReadTransaction
from homeserver.rooms import outliers
from homeserver.rooms.auth_chains import check_auth_chain
from homeserver.storage import auth_edges, events
from tests.rooms.signed_rooms import ALICE, BOB, FAMILIES, SignedRoom
from tests.storage.store import Store

ROOM = 7


def stored(tx: ReadTransaction, room: SignedRoom) -> dict[str, events.StoredEvent]:
    return {str(event_id): event for event_id, event in events.of_ids(tx, room.events).items()}


@pytest.mark.parametrize("version", FAMILIES)
def test_they_are_stored_with_their_places_in_the_auth_graph(store: Store, version: str) -> None:
    room = SignedRoom.new(version)
    room.join(BOB)
    room.send("m.room.topic", BOB, {"topic": "no"}, "")
    chain = check_auth_chain(room.room_id, room.checked_at_once(*room.events.values()), {})
    assert set(chain.rejected) == {room.last.event_id}
    numbers = store.write(outliers.store, ROOM, chain.judged, rejected=chain.rejected)
    assert set(numbers) == set(room.events)
    found = store.read(stored, room)
    for pdu in chain.judged:
        event = pdu.event
        row = found[event.event_id]
        cited = [found[each].generation or 0 for each in event.auth_events]
        assert row.generation == 1 + max(cited, default=-1)
        assert (row.event_nid, row.position, row.state_root, row.pdu) == (
            numbers[event.event_id],
            None,
            None,
            pdu.data,
        )
        expected = events.REJECTED if event.event_id in chain.rejected else events.OUTLIER
        assert row.status == expected
    create = numbers[next(iter(room.events))]
    citing = set(store.read(auth_edges.cited_by, ROOM, [create]))
    first = next(iter(room.events))
    assert citing == {event.event_id for event in room.events.values() if first in event.auth_events}


def test_what_is_stored_already_stays_as_it_is(store: Store) -> None:
    room = SignedRoom.new()
    first = room.checked_at_once(*room.events.values())
    numbers = store.write(outliers.store, ROOM, first, rejected=())
    room.join(BOB)
    everything = room.checked_at_once(*room.events.values())
    again = store.write(outliers.store, ROOM, [*everything, *everything], rejected=set(room.events))
    assert {event_id: again[event_id] for event_id in numbers} == numbers
    found = store.read(stored, room)
    assert {found[event_id].status for event_id in numbers} == {events.OUTLIER}
    assert found[room.last.event_id].status == events.REJECTED
    assert found[room.last.event_id].generation == 4


def test_an_event_of_another_room_is_not_taken_for_one_of_this(store: Store) -> None:
    room = SignedRoom.new()
    room.say(ALICE)
    pdus = room.checked_at_once(*room.events.values())
    store.write(outliers.store, ROOM, pdus, rejected=())
    assert store.write(outliers.store, ROOM + 1, pdus, rejected=()) == {}
