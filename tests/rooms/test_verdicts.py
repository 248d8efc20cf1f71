"""Rejected and soft-failed events, what stands on them, and what they do to the extremities."""

import pytest

from homeserver.core.event import Event
from homeserver.database.transactions import Caches, ReadTransaction, WriteTransaction
from homeserver.rooms import outliers
from homeserver.rooms.append import Appender
from homeserver.rooms.draft import Draft, Signer
from homeserver.rooms.judge import Lacking, Verdict
from homeserver.storage import events, notifications, rooms
from tests.rooms.holding import US, check_rows, enter, held, receive
from tests.rooms.signed_rooms import ALICE, BOB, CAROL, FAMILIES, SignedRoom, key_of
from tests.storage.store import Store

SIGNER = Signer(US, key_of(US))


def started(store: Store, version: str = "10") -> SignedRoom:
    room = SignedRoom.new(version)
    room.join(BOB)
    room.join(CAROL)
    store.write(enter, room, list(room.events.values()))
    return room


def take(store: Store, room: SignedRoom, event: Event) -> Verdict | Lacking:
    (pdu,) = room.checked_at_once(event)
    return store.write(receive, pdu)


def status(store: Store, room: SignedRoom, event: Event) -> int:
    found = take(store, room, event)
    assert isinstance(found, Verdict)
    return found.status


@pytest.mark.parametrize("version", FAMILIES)
def test_the_example_of_the_specification(store: Store, version: str) -> None:
    """Server-server API, "Soft failure": who evades a ban."""
    room = started(store, version)
    a = room.last
    b = room.send("m.room.member", ALICE, {"membership": "ban"}, BOB, prev=[a])
    c = room.send("m.room.topic", ALICE if version == "never" else BOB, {"topic": "C"}, "", prev=[a])
    message = room.say(BOB, "still here", prev=[a])
    assert status(store, room, b) == events.ACCEPTED
    assert status(store, room, message) == events.SOFT_FAILED
    # Bob may not set topics in this room at all.
    assert status(store, room, c) == events.REJECTED
    found = store.read(held, room)
    assert found.extremities == {b.event_id}
    stored = store.read(events.of, message.event_id)
    assert stored is not None
    assert stored.position is None
    # What refers to both is handled as normal.
    d = room.say(ALICE, "D", prev=[b, message])
    assert status(store, room, d) == events.ACCEPTED
    found = store.read(held, room)
    assert found.extremities == {d.event_id}
    check_rows(room, found)


def test_what_stands_on_unseen_events_stands_on_what_is_below_them(store: Store) -> None:
    room = started(store)
    a = room.say(ALICE, "a")
    unseen = room.send("m.room.topic", BOB, {"topic": "no"}, "")
    again = room.send("m.room.name", BOB, {"name": "no"}, "")
    last = room.say(CAROL, "on top")
    assert status(store, room, a) == events.ACCEPTED
    for each in (unseen, again):
        assert status(store, room, each) == events.REJECTED
        assert store.read(held, room).extremities == {a.event_id}
    assert status(store, room, last) == events.ACCEPTED
    assert store.read(held, room).extremities == {last.event_id}


def test_nothing_happens_twice(store: Store) -> None:
    room = started(store)
    event = room.say(BOB)
    assert status(store, room, event) == events.ACCEPTED
    position = store.position
    assert status(store, room, event) == events.ACCEPTED
    assert store.position == position


def test_unknown_parents_and_auth_events_are_told(store: Store) -> None:
    room = started(store)
    levels = room.send("m.room.power_levels", ALICE, {"users": {ALICE: 100, BOB: 50}}, "")
    said = room.say(BOB)
    found = take(store, room, said)
    assert found == Lacking(frozenset({levels.event_id}), frozenset({levels.event_id}))
    assert store.read(events.of, said.event_id) is None


@pytest.mark.parametrize("version", FAMILIES)
def test_more_extremities_than_an_event_can_name(store: Store, version: str) -> None:
    """Our next event names the newest 20, and has the state that these come down to."""
    room = started(store, version)
    base = room.last
    forks = [room.send("m.test", ALICE, {"n": n}, str(n), prev=[base]) for n in range(25)]
    for fork in forks:
        assert status(store, room, fork) == events.ACCEPTED
    assert len(store.read(held, room).extremities) == 25

    def speak(tx: WriteTransaction) -> Event:
        appender = Appender.lock(tx, room.room_id, SIGNER, now_ts=room.ts)
        event = appender.append(Draft(ALICE, "m.room.message", {"body": "x"}))
        appender.publish()
        return event

    event = store.write(speak)
    assert set(event.prev_events) == {fork.event_id for fork in forks[5:]}
    room.add(event, room.before(event.prev_events))
    found = store.read(held, room)
    assert found.befores[event.event_id] == room.before(event.prev_events)
    assert found.extremities == {event.event_id, *(fork.event_id for fork in forks[:5])}
    assert found.state == room.before(sorted(found.extremities))


def flags(tx: ReadTransaction, event: Event) -> int:
    found = events.of(tx, event.event_id)
    assert found is not None
    return found.notify & notifications.RESETS_STATE


def test_only_what_resets_the_state_is_marked_so(store: Store) -> None:
    room = started(store)
    base = room.last
    topic = room.send("m.room.topic", ALICE, {"topic": "t"}, "")
    assert status(store, room, topic) == events.ACCEPTED
    assert store.read(flags, topic) == 0
    # The room's state knows of a name only once what stands on it has come.
    (lost,) = room.checked_at_once(room.send("m.room.name", ALICE, {"name": "n"}, "", prev=[base]))
    soft = room.say(BOB, prev=[base, topic])
    assert status(store, room, soft) == events.ACCEPTED
    assert store.read(flags, soft) == 0
    assert store.write(receive, lost) == Verdict(events.ACCEPTED)
    assert store.read(flags, lost.event) == 0
    row = store.read(rooms.of, room.room_id)
    assert row is not None
    assert len(row.extremities) == 2


def is_rejected(tx: ReadTransaction, event: Event) -> bool:
    stored = events.of(tx, event.event_id)
    assert stored is not None
    return events.parsed(tx, [stored.event_nid], event.room_version)[stored.event_nid].rejected


@pytest.mark.parametrize("version", ["3", "10", "12"])
@pytest.mark.parametrize("is_other_process", [False, True])
def test_what_is_rejected_in_its_place_counts_so_although_it_was_known_before(
    store: Store, version: str, is_other_process: bool
) -> None:
    """By what it cites it is allowed: so it was, as a part of some state."""
    room = started(store, version)
    users = {} if room.version.privileged_creators else {ALICE: 100}
    powerful = room.send("m.room.power_levels", ALICE, {"users": {**users, BOB: 50}}, "")
    powerless = room.send("m.room.power_levels", ALICE, {"users": users}, "")
    for event in (powerful, powerless):
        assert status(store, room, event) == events.ACCEPTED
    cited = [*(room.before([powerless.event_id])[key] for key in [("m.room.member", BOB)]), powerful.event_id]
    if not room.version.room_id_is_create_hash:
        cited.insert(0, room.before([powerless.event_id])["m.room.create", ""])
    coup = room.send("m.room.power_levels", BOB, {"users": {**users, BOB: 50}}, "", auth=cited)
    (pdu,) = room.checked_at_once(coup)

    def know(tx: WriteTransaction) -> None:
        row = rooms.lock(tx, room.room_id)
        assert row is not None
        outliers.store(tx, row.room_nid, [pdu], rejected=())

    store.write(know)
    assert not store.read(is_rejected, coup)
    own, others = store.caches, Caches()
    if is_other_process:
        store.caches = others
    assert status(store, room, coup) == events.REJECTED
    store.caches = own
    on_top = [event_id for event_id in cited if event_id != powerful.event_id]
    said = room.send("m.room.message", BOB, {"body": "x"}, prev=[powerless], auth=[*on_top, coup.event_id])
    assert status(store, room, said) == events.REJECTED
